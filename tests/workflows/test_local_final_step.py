"""The final step of an order is tried locally: the ledger is the point of no return, also if history lags behind."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.orders import OrderActivities
from commerce.errors import DatabaseUnavailable, StaleGeneration
from commerce.messages.orders import OrderChange, OrderStart
from commerce.messages.steps import Begin, StepKey
from tests.faults import AnswerHold, Faults, Hold
from tests.running_shop import Handle, RunningShop, running_shop, wait_for_end
from workflows.engine.search_attributes import FAILED_STEP, OUTCOME, SAGA_STATE
from workflows.order_processing import OrderProcessingWorkflow

COMPLETED, CANCELLED = WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.CANCELED
DEADLINE = 60  # seconds
LABELLED = pytest.mark.parametrize("labelled", [True, False])


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with three mugs. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=3)
        yield shop


async def create_order(shop: RunningShop, *, labelled: bool = True) -> None:
    """Create an order for one mug; one that needs no label has only local steps."""
    await shop.data.order("1", MUG=1, columns={} if labelled else {"shipping_method": None})


async def assert_fulfilled_once(shop: RunningShop, *, labels: int = 1) -> None:
    handle = shop.handle("1")
    assert (await handle.result()).status == "fulfilled"
    described = await handle.describe()
    assert described.status == COMPLETED
    attributes = described.typed_search_attributes
    assert (attributes[SAGA_STATE], attributes[OUTCOME]) == ("completed", "fulfilled")
    assert attributes.get(FAILED_STEP) is None
    progress = await shop.progress("1")
    assert progress.state == "completed"
    states = {step.name: step.state for step in progress.steps}
    assert "failed" not in states.values()
    assert states["complete-order"] in ("done", "pending")  # a run that starts over reads that the order is fulfilled
    assert await shop.data.order_columns("1", "fulfillment_status", "hold_reason") == ("fulfilled", None)
    assert await shop.data.levels("MUG") == {"main": (2, 0)}
    counts = await shop.labels("1")
    assert (counts["bought"], counts["live"]) == (labels, labels)
    assert [kind for kind, *_ in await shop.data.events()] == ["order.fulfilled"]
    assert len(shop.mails("order-shipped")) == 1
    assert shop.mails("order-failed") == []
    assert await shop.findings() == []


async def assert_cancelled_and_undone(shop: RunningShop) -> None:
    assert await shop.status("1") == CANCELLED
    assert await shop.data.order_columns("1", "fulfillment_status", "hold_reason") == ("not_fulfilled", "cancelled")
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert (await shop.labels("1"))["live"] == 0
    assert await shop.data.events() == [] and shop.mails("order-shipped") == [] and shop.mails("order-failed") == []
    assert await shop.findings() == []


async def scheduled(handle: Handle) -> list[str]:
    """Return the regular activities of a run."""
    events = (await handle.fetch_history()).events
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in events]
    return [name for name in names if name]


async def test_a_good_order_has_one_regular_step_and_two_workflow_tasks(shop: RunningShop) -> None:
    await create_order(shop)
    async with shop.worker():
        await shop.process("1")
        handle = shop.handle("1")
        events = (await handle.fetch_history()).events
        assert await scheduled(handle) == ["create-shipping-label"]
        assert len([each for each in events if each.HasField("workflow_task_completed_event_attributes")]) == 2
        patches = [each for each in events if each.marker_recorded_event_attributes.marker_name == "core_patch"]
        assert len(patches) == 1  # each costs two events
        await assert_fulfilled_once(shop)


async def test_a_final_step_that_fails_twice_continues_as_a_regular_one(shop: RunningShop) -> None:
    await create_order(shop)
    async with shop.worker([Faults({"complete-order": "after"}, permanent=False, times=3)]):
        await shop.process("1")
        assert await scheduled(shop.handle("1")) == ["create-shipping-label", "complete-order"]
        await assert_fulfilled_once(shop)


async def test_a_cancel_while_the_final_step_is_about_to_run_is_too_late(shop: RunningShop) -> None:
    await create_order(shop)
    await assert_too_late(shop, Hold("complete-order"), cancel, labels=1)


@LABELLED
async def test_a_cancel_after_the_final_step_has_committed_is_too_late(shop: RunningShop, labelled: bool) -> None:
    """Temporal refuses to complete a run with a cancel that its worker has not seen. The run is replayed with it."""
    await create_order(shop, labelled=labelled)
    await assert_too_late(shop, AnswerHold("complete-order"), cancel, labels=int(labelled))


@pytest.mark.parametrize("step", ["create-fulfillment", "complete-order"])
async def test_a_final_step_after_local_ones_is_refused_if_there_is_a_cancel(shop: RunningShop, step: str) -> None:
    """An order without a label has only local steps, so that its final step asks Temporal at every try."""
    await create_order(shop, labelled=False)
    async with shop.worker([hold := Hold(step)]):
        await disturb_while_held(shop, hold, cancel)
        await assert_cancelled_and_undone(shop)


@LABELLED
async def test_a_cancel_during_the_mail_is_too_late(shop: RunningShop, labelled: bool) -> None:
    await create_order(shop, labelled=labelled)
    await assert_too_late(shop, AnswerHold("send-notification"), cancel, labels=int(labelled))


@LABELLED
async def test_a_change_after_the_final_step_has_committed_changes_nothing(
    shop: RunningShop, labelled: bool
) -> None:  # (V12)
    await create_order(shop, labelled=labelled)
    await assert_too_late(shop, AnswerHold("complete-order"), change, labels=int(labelled))


async def assert_too_late(
    shop: RunningShop, hold: Hold, disturb: Callable[[RunningShop], Awaitable[object]], *, labels: int
) -> None:
    async with shop.worker([hold]):
        handle = await disturb_while_held(shop, hold, disturb)
        await assert_fulfilled_once(shop, labels=labels)
    assert (await shop.handle("1").describe()).run_id == handle.first_execution_run_id


async def disturb_while_held(
    shop: RunningShop, hold: Hold, disturb: Callable[[RunningShop], Awaitable[object]]
) -> Handle:
    """Start the order, call `disturb` while its step is held, and wait until the run has ended."""
    handle = await shop.start("1")
    await asyncio.wait_for(hold.reached.wait(), DEADLINE)
    await disturb(shop)
    hold.opened.set()
    await wait_for_end(handle)
    return handle


async def cancel(shop: RunningShop) -> None:
    await shop.handle("1").cancel()


async def change(shop: RunningShop) -> None:
    """Change the order as its source does."""
    columns = "revision = revision + 1, decisive_revision = revision + 1, shipping_city = 'Leeds'"
    [revision] = await shop.data.sql(f"UPDATE orders SET {columns} RETURNING revision")
    await shop.handle("1").signal(OrderProcessingWorkflow.order_changed, OrderChange(revision=revision))


class CommitLost(Interceptor):
    """Calls `disturb` after the first try of the final step, and loses its answer."""

    def __init__(self, disturb: Callable[[], Awaitable[object]]) -> None:
        self.disturb, self.tries = disturb, 0

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _CommitLost(next, self)


class _CommitLost(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, loss: CommitLost) -> None:  # noqa: A002
        super().__init__(next)
        self._loss = loss

    async def execute_activity(self, input: ExecuteActivityInput) -> object:  # noqa: A002
        answer: object = await self.next.execute_activity(input)
        if activity.info().activity_type == "complete-order":
            self._loss.tries += 1
            if self._loss.tries == 1:
                await self._loss.disturb()
                raise DatabaseUnavailable("the answer of the COMMIT is lost")
        return answer


async def test_a_try_that_is_refused_because_of_a_cancel_may_follow_one_that_has_committed(shop: RunningShop) -> None:
    await create_order(shop, labelled=False)
    async with shop.worker([lost := CommitLost(lambda: cancel(shop))]):
        handle = await shop.start("1")
        await wait_for_end(handle)
        assert lost.tries == 1  # the second try was refused before it began
        assert await scheduled(handle) == ["close-generation"]
        await assert_fulfilled_once(shop, labels=0)


async def test_a_final_step_whose_answer_is_lost_is_done_once(shop: RunningShop) -> None:
    await create_order(shop)
    async with shop.worker([lost := CommitLost(lambda: asyncio.sleep(0))]):
        await shop.process("1")
        assert lost.tries == 2
        await assert_fulfilled_once(shop)


async def test_a_second_cancel_during_the_way_out_is_too_late_too(shop: RunningShop) -> None:
    await create_order(shop)
    async with shop.worker([final := AnswerHold("complete-order"), closing := AnswerHold("close-generation")]):
        handle = await shop.start("1")
        for hold in (final, closing):
            await asyncio.wait_for(hold.reached.wait(), DEADLINE)
            await handle.cancel()
            hold.opened.set()
        await wait_for_end(handle)
        await assert_fulfilled_once(shop)


async def test_a_late_validation_of_a_cancelled_run_does_not_end_its_hold(shop: RunningShop) -> None:  # (V10, E12)
    """A worker was frozen before its first local step, and continues when another one has ended the run."""
    await create_order(shop, labelled=False)
    async with shop.worker([hold := Hold("create-fulfillment")]):
        handle = await disturb_while_held(shop, hold, cancel)
    run_id = (await handle.describe()).run_id
    key = StepKey(business_key=handle.id, step="validate-order", generation=run_id)
    frozen = ActivityEnvironment()
    frozen.info = replace(frozen.info, workflow_id=handle.id, workflow_run_id=run_id)
    validate = OrderActivities(shop.database, ZoneInfo("UTC")).validate
    with pytest.raises(StaleGeneration):
        await frozen.run(validate, Begin(key=key, input=OrderStart(order_id="1"), started_at=datetime.now(UTC)))
    assert await shop.data.order_columns("1", "hold_reason") == ("cancelled",)
