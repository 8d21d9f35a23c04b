"""Each run and each step has one span below what called it, however often a worker begins anew."""

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
from starter.connection.plugin import plugin
from starter.telemetry.span_export import SpanRecorder
from tests.keys import codec

SOON = timedelta(seconds=20)


class Rounds(ProcessInput):
    """How often to go on as a new run, and how to end."""

    rounds: int = 0
    waits: bool = False
    fails: bool = False


@activity.defn(name="walk")
async def walk(fails: bool) -> None:
    if fails:
        raise ApplicationError("no way for ann@customer.example", type="Lost", non_retryable=True)


@workflow.defn(name="stroll", sandboxed=False)
class Stroll:
    def __init__(self) -> None:
        self._go_on = False

    @workflow.run
    async def run(self, stroll: Rounds) -> None:
        await workflow.execute_activity(walk, False, start_to_close_timeout=SOON)
        if stroll.waits:
            await workflow.wait_condition(lambda: self._go_on)
        await workflow.execute_activity(walk, stroll.fails, start_to_close_timeout=SOON)
        if stroll.rounds:
            workflow.continue_as_new(Rounds(rounds=stroll.rounds - 1))

    @workflow.signal
    def go_on(self) -> None:
        self._go_on = True


@dataclass
class Walks:
    """Strolls that are traced."""

    client: Client
    tracing: SpanRecorder
    exporter: InMemorySpanExporter
    queue: str = field(default_factory=lambda: f"strolls-{uuid4()}")

    def worker(self, cached: int = 100) -> Worker:
        return Worker(
            self.client, task_queue=self.queue, workflows=[Stroll], activities=[walk], max_cached_workflows=cached
        )

    async def start(self, stroll: Rounds) -> WorkflowHandle[Stroll, None]:
        return await self.client.start_workflow(Stroll.run, stroll, id=f"stroll-{uuid4()}", task_queue=self.queue)

    def tree(self) -> list[list[str]]:
        """Return the path from the root to each span; a span whose parent is nowhere begins with a question mark."""
        self.tracing.close(5)
        spans = self.exporter.get_finished_spans()
        assert len({span.context.trace_id for span in spans if span.context}) == 1
        by_id = {span.context.span_id: span for span in spans if span.context}
        assert len(by_id) == len(spans), "a span was told of twice"

        def path(span: ReadableSpan) -> list[str]:
            if span.parent is None:
                return [span.name]
            above = by_id.get(span.parent.span_id)
            return [*(path(above) if above else ["?"]), span.name]

        return sorted(path(span) for span in spans)


@pytest.fixture
async def walks(temporal_server: str) -> AsyncIterator[Walks]:
    exporter = InMemorySpanExporter()
    tracing = SpanRecorder(exporter, "test")
    yield Walks(await Client.connect(temporal_server, plugins=[plugin(codec(), tracing)]), tracing, exporter)
    tracing.close(0)


START, RUN, STEP = ["start stroll"], ["start stroll", "stroll"], ["start stroll", "stroll", "walk"]


@pytest.mark.parametrize("cached", [0, 100])
async def test_each_has_one_span_whether_runs_are_replayed_or_remembered(walks: Walks, cached: int) -> None:
    async with walks.worker(cached):
        await (await walks.start(Rounds())).result()
    assert walks.tree() == [START, RUN, STEP, STEP]


async def test_a_run_that_goes_on_elsewhere_is_told_of_at_its_end(walks: Walks) -> None:
    """A worker that stops lets its runs go: none of them has ended, be it cancelled or not."""
    async with walks.worker():
        stroll = await walks.start(Rounds(waits=True))
        await until_waiting(stroll)
    async with walks.worker():
        await stroll.signal(Stroll.go_on)
        await stroll.result()
    assert walks.tree() == [START, RUN, STEP, STEP]


async def test_a_cancelled_run_is_told_of(walks: Walks) -> None:
    async with walks.worker():
        stroll = await walks.start(Rounds(waits=True))
        await until_waiting(stroll)
        await stroll.cancel()
        with pytest.raises(WorkflowFailureError):
            await stroll.result()
    assert walks.tree() == [START, RUN, STEP]


async def test_runs_that_go_on_as_new_ones_stand_side_by_side(walks: Walks) -> None:
    async with walks.worker():
        await (await walks.start(Rounds(rounds=2))).result()
    assert walks.tree() == [START, *([RUN] * 3), *([STEP] * 6)]


async def test_a_reset_run_goes_on_in_the_same_tree(walks: Walks) -> None:
    async with walks.worker():
        stroll = await walks.start(Rounds(waits=True))
        await until_waiting(stroll)
        await reset(walks.client, stroll)
        await walks.client.get_workflow_handle(stroll.id).signal("go_on")
        await walks.client.get_workflow_handle(stroll.id).result()
    assert walks.tree() == [START, RUN, STEP, STEP, STEP]


async def test_errors_say_no_more_than_the_log(walks: Walks) -> None:
    async with walks.worker():
        with pytest.raises(WorkflowFailureError):
            await (await walks.start(Rounds(fails=True))).result()
    walks.tree()
    failed = [span for span in walks.exporter.get_finished_spans() if span.status.description]
    assert {(span.name, span.status.description) for span in failed} == {
        ("walk", "Lost: no way for [redacted]"),
        ("stroll", "Lost: no way for [redacted]"),
    }
    assert not any(span.events for span in failed)


async def until_waiting(stroll: WorkflowHandle[Stroll, None]) -> None:
    """Wait until the first step is done and the run waits."""
    async for event in stroll.fetch_history_events(wait_new_event=True):
        if event.HasField("workflow_task_completed_event_attributes") and event.event_id > 5:
            return


async def reset(client: Client, stroll: WorkflowHandle[Stroll, None]) -> None:
    """Let the run begin again after its first decision."""
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=stroll.id),
            workflow_task_finish_event_id=4,
            request_id=str(uuid4()),
        )
    )
