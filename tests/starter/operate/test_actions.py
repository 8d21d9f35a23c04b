"""Retry and cancel: every way to end badly can be retried, nothing happens twice, all other cases are refused."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHistory
from temporalio.worker import Worker

from commerce.errors import (
    BadInput,
    CancelRefused,
    CustomerAlreadyExists,
    JobInProgress,
    ProcessFailed,
    ProcessNotFound,
    RetryRefused,
)
from commerce.messages.base import ProcessInput
from commerce.messages.customers import registration_process_id
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.upkeep import Upkeep
from starter.client import register_customer, start, wait_for_result
from starter.operate.actions import cancel, retry
from starter.operate.process_status import get_status
from starter.processes import TASK_QUEUE
from starter.schedules.apply import apply_jobs
from tests.faults import Faults, Gate
from tests.polling import until
from tests.running_shop import RunningShop, is_cancel_requested, wait_for_end
from tests.starter.sample_jobs import NIGHTLY, delete_schedules, worker

REASON = "Ann from support asked for it"
OPERATOR = "bob@shop"  # with a character that no encrypted payload can have by chance
LEVELS = "SELECT stocked_quantity, reserved_quantity FROM inventory_levels"
RECORDED_ACTIONS = "SELECT process_id, run_id, action, reason, actor FROM operator_actions ORDER BY id"
CORRECT_ADDRESS = "UPDATE notifications SET recipient = 'ann@shop.example' WHERE kind = 'order-shipped'"
ANN = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
MINUTE = timedelta(minutes=1)


async def retry_process(shop: RunningShop, process: str) -> str:
    return await retry(shop.client, shop.database, process, reason=REASON, actor=OPERATOR)


async def state(shop: RunningShop, order_id: str) -> tuple[str, str | None]:
    found = await get_status(shop.client, order_process_id(order_id))
    return found.status, found.state


async def fail_at_the_carrier(shop: RunningShop, order_id: str) -> None:
    await shop.inject_carrier_fault(operation="buy", fault="422")
    async with shop.worker():
        await shop.expect_failure(order_id)
        assert await state(shop, order_id) == ("failed", "compensated")
    await shop.clear_carrier_faults()


async def cancel_while_running(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("create-shipping-label")]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        process_id = order_process_id(order_id)
        cancelling = asyncio.ensure_future(cancel(shop.client, shop.database, process_id, reason=REASON, wait=MINUTE))
        await until(lambda: is_cancel_requested(handle))  # else the order may end first
        gate.opened.set()
        await cancelling
        assert await state(shop, order_id) == ("cancelled", "compensated")


async def terminate_while_running(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("complete-order")]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        await handle.terminate()
        assert await state(shop, order_id) == ("terminated", "failed")
        gate.opened.set()  # the step of the terminated run completes too late


async def fail_to_undo(shop: RunningShop, order_id: str) -> None:
    faults = Faults({"complete-order": "before", "void-shipping-label": "before", "release-inventory": "before"})
    async with shop.worker([faults]):
        await shop.expect_failure(order_id)
        assert await state(shop, order_id) == ("failed", "compensation_failed")


@pytest.mark.parametrize(
    "end_badly", [fail_at_the_carrier, cancel_while_running, terminate_while_running, fail_to_undo]
)
async def test_an_order_that_ended_badly_is_fulfilled_by_a_retry(
    shop: RunningShop, order_id: str, end_badly: Callable[[RunningShop, str], Awaitable[None]]
) -> None:  # (E6, E12)
    await end_badly(shop, order_id)
    before = await get_status(shop.client, order_process_id(order_id))
    async with shop.worker():
        run_id = await retry_process(shop, order_process_id(order_id))
        assert run_id != before.run_id
        assert (await shop.handle(order_id).result()).status == "fulfilled"
        found = await get_status(shop.client, order_process_id(order_id))
    assert (found.run_id, found.type, found.status, found.state) == (run_id, before.type, "completed", "completed")
    labels = await shop.labels(order_id)
    assert labels["live"] == 1 and labels["bought"] == labels["refunded"] + 1
    assert len(shop.mails("order-shipped", order_id)) == 1
    assert await shop.data.sql(LEVELS) == [(99, 0)]
    assert await shop.data.sql("SELECT hold_reason FROM orders") == [None]
    assert await shop.findings() == []


async def test_the_new_run_has_the_title_and_search_attributes_of_the_old_one(shop: RunningShop, order_id: str) -> None:
    await fail_at_the_carrier(shop, order_id)
    old = await shop.handle(order_id).describe()
    run_id = await retry_process(shop, order_process_id(order_id))
    new = await shop.client.get_workflow_handle(order_process_id(order_id), run_id=run_id).describe()
    assert await new.static_summary() == await old.static_summary() == f"Order {order_id}"
    found = {pair.key.name: pair.value for pair in new.typed_search_attributes.search_attributes}
    assert found == {"OrderId": order_id, "SagaState": "running"}
    await shop.handle(order_id).terminate()


async def test_the_reason_is_stored_in_our_database_and_not_in_temporal(shop: RunningShop, order_id: str) -> None:
    await fail_at_the_carrier(shop, order_id)
    failed = (await shop.handle(order_id).describe()).run_id
    async with shop.worker():
        await retry_process(shop, order_process_id(order_id))
        await wait_for_end(shop.handle(order_id))
    assert await shop.data.sql(RECORDED_ACTIONS) == [(order_process_id(order_id), failed, "retry", REASON, OPERATOR)]
    history: WorkflowHistory = await shop.handle(order_id).fetch_history()
    assert REASON not in history.to_json() and OPERATOR not in history.to_json()


async def test_concurrent_retries_of_a_run_start_one_new_run(shop: RunningShop, order_id: str) -> None:
    await fail_at_the_carrier(shop, order_id)
    runs = await asyncio.gather(
        *(retry_process(shop, order_process_id(order_id)) for _ in range(5)), return_exceptions=True
    )
    new = (await shop.handle(order_id).describe()).run_id
    assert new in runs
    assert {str(run) for run in runs} <= {new, f"Cannot retry {order_process_id(order_id)}: it is running."}
    async with shop.worker():
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert (await shop.handle(order_id).describe()).run_id == new
    assert (await shop.labels(order_id))["live"] == 1


async def test_a_retry_sends_the_shipping_mail_that_was_not_sent(shop: RunningShop, order_id: str) -> None:  # (V5)
    await shop.data.sql("UPDATE orders SET email = 'ann@refused.example'")
    async with shop.worker():
        assert not (await shop.process(order_id)).notification_sent
        await shop.data.sql(CORRECT_ADDRESS)
        await retry_process(shop, order_process_id(order_id))
        assert (await shop.handle(order_id).result()).notification_sent
        with pytest.raises(RetryRefused, match="it is completed"):
            await retry_process(shop, order_process_id(order_id))
    assert len(shop.mails("order-shipped", order_id)) == 1
    assert (await shop.labels(order_id))["shipments"] == 1
    assert await shop.findings() == []


async def test_a_retry_sends_the_welcome_mail_that_was_not_sent(shop: RunningShop) -> None:
    process = registration_process_id("zoe@refused.example")
    async with shop.worker():
        first = await register_customer(shop.client, **(ANN | {"email": "zoe@refused.example"}))
        assert not first.email_sent
        await shop.data.sql(CORRECT_ADDRESS.replace("order-shipped", "welcome"))
        await retry_process(shop, process)
        second = await wait_for_result(shop.client.get_workflow_handle(process))
        assert second == first.model_copy(update={"email_sent": True}).model_dump()
        with pytest.raises(RetryRefused, match="it is completed"):
            await retry_process(shop, process)
    assert len(shop.mails("welcome")) == 1
    assert await shop.findings() == []


async def test_an_order_on_hold_that_the_job_started_is_retried(shop: RunningShop, order_id: str) -> None:
    await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)
    async with shop.worker():
        await (await start(shop.client, "process-pending-orders", PendingOrders())).result()
        assert (await shop.data.order_columns(order_id, "hold_reason"))[0] == "failed: CarrierRefused"
        await shop.clear_carrier_faults()
        await retry_process(shop, order_process_id(order_id))
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert await shop.findings() == []


async def test_a_running_or_completed_process_is_not_retried(shop: RunningShop, order_id: str) -> None:
    async with shop.worker([gate := Gate("create-fulfillment")]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        with pytest.raises(RetryRefused, match="it is running"):
            await retry_process(shop, handle.id)
        gate.opened.set()
        await handle.result()
        with pytest.raises(RetryRefused, match="it is completed"):
            await retry_process(shop, handle.id)
        with pytest.raises(CancelRefused, match="it is completed"):
            await cancel(shop.client, shop.database, handle.id, reason=REASON)
    assert await shop.data.sql(RECORDED_ACTIONS) == []


async def test_an_unknown_process_and_a_long_reason_are_refused(shop: RunningShop, order_id: str) -> None:
    handle = await shop.start(order_id)
    for act in (retry, cancel):
        with pytest.raises(ProcessNotFound):
            await act(shop.client, shop.database, "unknown", reason=REASON)
        with pytest.raises(BadInput) as refused:
            await act(shop.client, shop.database, handle.id, reason="x" * 1_001)
        assert [problem.field for problem in refused.value.fields] == ["reason"]
    await handle.terminate()


@pytest.mark.parametrize("arguments", [[[1]], [], [{"order_id": "a b"}], [{"order_id": "1"}, {"order_id": "2"}]])
async def test_a_run_whose_input_is_invalid_is_not_retried_and_nothing_is_recorded(
    shop: RunningShop, arguments: list[object]
) -> None:
    process = order_process_id(uuid4().hex)
    async with shop.worker():
        unfit = await shop.client.start_workflow("order-processing", args=arguments, id=process, task_queue=TASK_QUEUE)
        with pytest.raises(WorkflowFailureError):
            await unfit.result()
    with pytest.raises(BadInput):
        await retry_process(shop, process)
    assert (await unfit.describe()).run_id == unfit.first_execution_run_id
    assert await shop.data.sql(RECORDED_ACTIONS) == []


async def test_a_failed_registration_is_retried_with_its_original_password_hash(shop: RunningShop) -> None:
    faults = Faults({"create-auth-user": "before"})
    process = registration_process_id(ANN["email"])
    async with shop.worker([faults]):
        with pytest.raises(ProcessFailed):
            await register_customer(shop.client, **ANN)
        faults.steps.clear()
        await retry_process(shop, process)
        assert (await wait_for_result(shop.client.get_workflow_handle(process)))["email_sent"]
        with pytest.raises(CustomerAlreadyExists):
            await register_customer(shop.client, **ANN)
        await retry_process(shop, process)  # fails with the same error and changes nothing
        with pytest.raises(CustomerAlreadyExists):
            await wait_for_result(shop.client.get_workflow_handle(process))
    assert len(shop.mails("welcome")) == 1
    assert await shop.findings() == []


async def test_a_scheduled_run_is_retried_with_its_nominal_time(shop: RunningShop) -> None:
    await apply_jobs(shop.client, [NIGHTLY], key_id="a", paused=True)
    schedule = shop.client.get_schedule_handle(NIGHTLY.id)
    await schedule.trigger()

    async def triggered() -> str | None:
        runs = (await schedule.describe()).raw_description.info.recent_actions
        return runs[0].start_workflow_result.workflow_id if runs else None

    run = shop.client.get_workflow_handle(await until(triggered))
    nominal = (await run.describe()).typed_search_attributes
    await run.terminate()
    await retry_process(shop, run.id)
    assert (await run.describe()).typed_search_attributes == nominal
    async with worker(shop.client):
        assert str(await run.result()).removesuffix("Z") in run.id.replace("Z", "")
    await delete_schedules(shop.client, NIGHTLY.id)


async def test_a_job_is_not_retried_while_another_run_of_it_is_open(shop: RunningShop) -> None:
    nightly = await shop.client.start_workflow("upkeep", Upkeep(), id=f"upkeep-{uuid4()}", task_queue=TASK_QUEUE)
    await nightly.terminate()
    by_hand = await start(shop.client, "upkeep", Upkeep())
    with pytest.raises(JobInProgress):
        await retry_process(shop, nightly.id)
    await by_hand.terminate()
    async with shop.worker():
        await retry_process(shop, nightly.id)
        assert (await shop.client.get_workflow_handle(nightly.id).result())["failed"] == 0


class Position(ProcessInput):
    """How often the process has continued as new."""

    number: int = 0


@workflow.defn(name="sample-long", sandboxed=False)
class Long:
    """Continues as new once, then never ends."""

    @workflow.run
    async def run(self, position: Position) -> None:
        if position.number == 0:
            workflow.continue_as_new(Position(number=1))
        await workflow.wait_condition(lambda: False)


async def test_a_process_that_continued_as_new_is_retried_from_its_original_input(shop: RunningShop) -> None:
    async with Worker(shop.client, task_queue="long", workflows=[Long]):
        first = await shop.client.start_workflow(Long.run, Position(), id=f"long-{uuid4()}", task_queue="long")
        latest = shop.client.get_workflow_handle(first.id)

        async def continued() -> bool | None:
            return (await latest.describe()).run_id != first.first_execution_run_id or None

        await until(continued)
        await latest.terminate()
        run_id = await retry_process(shop, first.id)
        new = shop.client.get_workflow_handle(first.id, run_id=run_id)

        async def continued_again() -> bool | None:
            return (await new.describe()).status == WorkflowExecutionStatus.CONTINUED_AS_NEW or None

        assert await until(continued_again)
        await latest.terminate()
