"""Each run and each step attempt has one span below its caller's, however often workers restart or replay."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from temporalio import activity, workflow
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from commerce.messages.base import ProcessInput
from starter.connection.plugin import create_plugin
from starter.telemetry.span_recorder import SpanRecorder
from tests.keys import codec

SOON = timedelta(seconds=20)


class WalkOptions(ProcessInput):
    """How often to continue as new, and how to end."""

    rounds: int = 0
    waits: bool = False
    fails: bool = False
    local: bool = False  # the first step is tried locally


@activity.defn(name="step")
async def step(fails: bool) -> None:
    if fails:
        raise ApplicationError("no way for ann@customer.example", type="Lost", non_retryable=True)


@workflow.defn(name="walk", sandboxed=False)
class Walk:
    def __init__(self) -> None:
        self._released = False

    @workflow.run
    async def run(self, options: WalkOptions) -> None:
        if options.local:
            await workflow.execute_local_activity(step, False, start_to_close_timeout=SOON)
        else:
            await workflow.execute_activity(step, False, start_to_close_timeout=SOON)
        if options.waits:
            await workflow.wait_condition(lambda: self._released)
        await workflow.execute_activity(step, options.fails, start_to_close_timeout=SOON)
        if options.rounds:
            workflow.continue_as_new(WalkOptions(rounds=options.rounds - 1))

    @workflow.signal
    def release(self) -> None:
        self._released = True


@dataclass
class TracedWalks:
    """Runs of `walk` on a real server, and the spans recorded for them."""

    client: Client
    recorder: SpanRecorder
    exporter: InMemorySpanExporter
    queue: str = field(default_factory=lambda: f"walks-{uuid4()}")

    def worker(self, cached: int = 100) -> Worker:
        return Worker(
            self.client, task_queue=self.queue, workflows=[Walk], activities=[step], max_cached_workflows=cached
        )

    async def start(self, options: WalkOptions) -> WorkflowHandle[Walk, None]:
        return await self.client.start_workflow(Walk.run, options, id=f"walk-{uuid4()}", task_queue=self.queue)

    def tree(self) -> list[list[str]]:
        """Return the path from the root to each span; a path starts with a question mark if the parent is missing."""
        self.recorder.close(5)
        spans = self.exporter.get_finished_spans()
        assert len({span.context.trace_id for span in spans if span.context}) == 1
        by_id = {span.context.span_id: span for span in spans if span.context}
        assert len(by_id) == len(spans), "a span was recorded twice"

        def path(span: ReadableSpan) -> list[str]:
            if span.parent is None:
                return [span.name]
            above = by_id.get(span.parent.span_id)
            return [*(path(above) if above else ["?"]), span.name]

        return sorted(path(span) for span in spans)


@pytest.fixture
async def walks(temporal_server: str) -> AsyncIterator[TracedWalks]:
    exporter = InMemorySpanExporter()
    recorder = SpanRecorder(exporter, "test")
    yield TracedWalks(
        await Client.connect(temporal_server, plugins=[create_plugin(codec(), recorder)]), recorder, exporter
    )
    recorder.close(0)


START, RUN, STEP = ["start walk"], ["start walk", "walk"], ["start walk", "walk", "step"]


@pytest.mark.parametrize("cached", [0, 100])
async def test_runs_and_steps_have_one_span_each_with_and_without_a_cache(walks: TracedWalks, cached: int) -> None:
    async with walks.worker(cached):
        await (await walks.start(WalkOptions())).result()
    assert walks.tree() == [START, RUN, STEP, STEP]


async def test_a_local_step_has_a_span_below_its_run(walks: TracedWalks) -> None:
    async with walks.worker(cached=0):
        await (await walks.start(WalkOptions(local=True))).result()
    assert walks.tree() == [START, RUN, STEP, STEP]
    attributes = [span.attributes for span in walks.exporter.get_finished_spans() if span.name == "step"]
    assert [each["local"] for each in attributes if each] == [True, False]


async def test_a_run_that_moves_to_another_worker_is_recorded_at_its_end(walks: TracedWalks) -> None:
    """A worker that stops evicts its runs, which is not their end."""
    async with walks.worker():
        walk = await walks.start(WalkOptions(waits=True))
        await until_waiting(walk)
    async with walks.worker():
        await walk.signal(Walk.release)
        await walk.result()
    assert walks.tree() == [START, RUN, STEP, STEP]


async def test_a_cancelled_run_is_recorded(walks: TracedWalks) -> None:
    async with walks.worker():
        walk = await walks.start(WalkOptions(waits=True))
        await until_waiting(walk)
        await walk.cancel()
        with pytest.raises(WorkflowFailureError):
            await walk.result()
    assert walks.tree() == [START, RUN, STEP]


async def test_runs_that_continue_as_new_are_siblings(walks: TracedWalks) -> None:
    async with walks.worker():
        await (await walks.start(WalkOptions(rounds=2))).result()
    assert walks.tree() == [START, *([RUN] * 3), *([STEP] * 6)]


async def test_a_reset_run_stays_in_the_same_tree(walks: TracedWalks) -> None:
    async with walks.worker():
        walk = await walks.start(WalkOptions(waits=True))
        await until_waiting(walk)
        await reset(walks.client, walk)
        await walks.client.get_workflow_handle(walk.id).signal("release")
        await walks.client.get_workflow_handle(walk.id).result()
    assert walks.tree() == [START, RUN, STEP, STEP, STEP]


async def test_errors_are_redacted_as_in_the_log(walks: TracedWalks) -> None:
    async with walks.worker():
        with pytest.raises(WorkflowFailureError):
            await (await walks.start(WalkOptions(fails=True))).result()
    walks.tree()
    failed = [span for span in walks.exporter.get_finished_spans() if span.status.description]
    assert {(span.name, span.status.description) for span in failed} == {
        ("step", "Lost: no way for [redacted]"),
        ("walk", "Lost: no way for [redacted]"),
    }
    assert not any(span.events for span in failed)


async def until_waiting(walk: WorkflowHandle[Walk, None]) -> None:
    """Wait until the first step is done and the run waits."""
    async for event in walk.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_task_completed_event_attributes") and event.event_id > 5:
            return


async def reset(client: Client, walk: WorkflowHandle[Walk, None]) -> None:
    """Reset the run to the end of its first workflow task."""
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=walk.id),
            workflow_task_finish_event_id=4,
            request_id=str(uuid4()),
        )
    )
