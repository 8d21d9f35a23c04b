"""Replay recorded runs with the present code, because a new version must continue the runs that are open."""

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
from tests.replay.changed import WithoutInventoryCheck
from tests.replay.record import HISTORIES
from tests.replay.scenarios import SCENARIOS
from worker import WORKFLOWS

REPLAY_FAILED = """
The recorded run {name!r} can no longer be replayed: the process now runs other steps, or in another order, than when
it was recorded. Runs that are open during the deployment would stop with this error:

    {error}

- If such runs may be open, keep the old code for them: put the new code into `if workflow.patched("what-changed"):`
  and the old code into its `else`. Leave the recorded history as it is.
- If no such run can be open (never deployed, or all have ended), record the run again and commit the new history:
  `python -m tests.replay.record {name}`
"""


def load_history(name: str) -> WorkflowHistory:
    history = json.loads((HISTORIES / f"{name}.json").read_text())
    process_id = history["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"]
    return WorkflowHistory.from_json(process_id, history)


async def replay(name: str, workflows: Sequence[type] = WORKFLOWS, tracing: SpanRecorder | None = None) -> None:
    """Replay a recorded run. If it does not match the code, raise an AssertionError that explains what to do."""
    try:
        await Replayer(workflows=workflows, plugins=[create_plugin(codec(), tracing)]).replay_workflow(
            load_history(name)
        )
    except (NondeterminismError, RuntimeError) as error:  # a RuntimeError if the code itself has found out
        if "Nondeterminism" not in str(error):
            raise
        raise AssertionError(REPLAY_FAILED.format(name=name, error=error)) from None


@pytest.mark.parametrize("name", SCENARIOS)
async def test_a_recorded_run_can_be_continued(name: str) -> None:
    await replay(name)


async def test_a_run_recorded_without_tracing_can_be_continued_with_it_and_no_span_is_exported_twice() -> None:
    exporter = InMemorySpanExporter()
    tracing = SpanRecorder(exporter, "test")
    for name in SCENARIOS:
        await replay(name, tracing=tracing)
    tracing.close(5)
    assert exporter.get_finished_spans() == ()


def test_every_recorded_history_is_replayed() -> None:
    assert {path.name for path in HISTORIES.iterdir()} == {f"{name}.json" for name in SCENARIOS}


@pytest.mark.parametrize(
    ("name", "shown"), [("fulfilled", "check-inventory"), ("local-fulfilled", "NondeterminismError")]
)
async def test_an_incompatible_change_is_detected_and_the_message_explains_what_to_do(name: str, shown: str) -> None:
    with pytest.raises(AssertionError) as failure:
        await replay(name, [WithoutInventoryCheck])
    message = str(failure.value)
    assert shown in message
    assert 'workflow.patched("what-changed")' in message
    assert f"python -m tests.replay.record {name}" in message
