"""Runs that are under way go on after a deploy: what was recorded before must still be what the code does."""

import json
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio.client import WorkflowHistory
from temporalio.worker import Replayer
from temporalio.workflow import NondeterminismError

from starter.connection.plugin import create_plugin
from starter.telemetry.span_recorder import SpanRecorder
from tests.keys import codec
from tests.replay.changed import WithoutCheck
from tests.replay.record import HISTORIES
from tests.replay.scenarios import SCENARIOS
from worker import WORKFLOWS

LESSON = """
The recorded run {name!r} can no longer be replayed: a process now does other things, or in another order, than when
it was recorded. Runs that are open while this is deployed would stop with this error:

    {error}

- Runs of the old kind may be open: keep the old way for them. Put the new one behind
  `if workflow.patched("what-changed"):` and the old one into its `else`, and leave the recorded history as it is.
- No such run can be open anywhere (never deployed, or all have ended): record anew and commit what comes out:
  `python -m tests.replay.record {name}`
"""


def recorded(name: str) -> WorkflowHistory:
    history = json.loads((HISTORIES / f"{name}.json").read_text())
    process_id = history["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    return WorkflowHistory.from_json(process_id, history)


async def replay(name: str, workflows: Sequence[type] = WORKFLOWS, tracing: SpanRecorder | None = None) -> None:
    """Replay a recorded run; an AssertionError says what to do when it does not fit."""
    try:
        await Replayer(workflows=workflows, plugins=[create_plugin(codec(), tracing)]).replay_workflow(recorded(name))
    except NondeterminismError as error:
        raise AssertionError(LESSON.format(name=name, error=error)) from None


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_recorded_run_can_go_on(name: str) -> None:
    await replay(name)


async def test_a_run_recorded_without_traces_goes_on_with_them_and_what_it_did_is_not_told_again() -> None:
    exporter = InMemorySpanExporter()
    tracing = SpanRecorder(exporter, "test")
    for name in SCENARIOS:
        await replay(name, tracing=tracing)
    tracing.close(5)
    assert exporter.get_finished_spans() == ()


def test_every_recorded_run_is_replayed() -> None:
    assert {path.name for path in HISTORIES.iterdir()} == {f"{name}.json" for name in SCENARIOS}


async def test_a_careless_change_is_found_and_the_message_teaches_what_to_do() -> None:
    with pytest.raises(AssertionError) as failure:
        await replay("fulfilled", [WithoutCheck])
    message = str(failure.value)
    assert "check-inventory" in message
    assert 'workflow.patched("what-changed")' in message
    assert "python -m tests.replay.record fulfilled" in message
