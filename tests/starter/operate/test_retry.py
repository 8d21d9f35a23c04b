"""Runs that ended badly are begun again, in whatever way they ended, and nothing happens twice; the rest is refused."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio import workflow
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHistory
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
from starter.client import register_customer, wait_for_result, start
from starter.operate.actions import cancel, retry
from starter.operate.monitor import get_status
from starter.processes import TASK_QUEUE
from starter.schedules.apply import apply_jobs
from tests.faults import Faults, Gate
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.starter.clockwork import NIGHTLY, forget, until, worker

REASON = "Ann from support asked for it"
LEVEL = "SELECT stocked_quantity, reserved_quantity FROM inventory_levels"
ACTIONS = "SELECT process_id, run_id, action, reason, actor FROM operator_actions ORDER BY id"
CORRECT = "UPDATE notifications SET recipient = 'ann@shop.example' WHERE kind = 'order-shipped'"
ANN = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
MINUTE = timedelta(minutes=1)


@pytest.fixture
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=3)
        yield made


@pytest.fixture
async def order(place: RunningShop) -> str:
    """An order that no other test knows."""
    order_id = uuid4().hex
    await place.data.order(order_id, MUG=1)
    return order_id


async def again(place: RunningShop, process: str) -> str:
    return await retry(place.client, place.database, process, reason=REASON, actor="bob")


async def state(place: RunningShop, order_id: str) -> tuple[str, str | None]:
    found = await get_status(place.client, order_process_id(order_id))
    return found.status, found.state


async def refused_by_the_carrier(place: RunningShop, order_id: str) -> None:
    await place.inject_carrier_fault(operation="buy", fault="422")
    async with place.worker():
        await place.expect_failure(order_id)
        assert await state(place, order_id) == ("failed", "compensated")
    await place.clear_carrier_faults()


async def cancelled(place: RunningShop, order_id: str) -> None:
    async with place.worker([gate := Gate("create-shipping-label")]):
        await place.start(order_id)
        await gate.reached.wait()
        gate.opened.set()
        await cancel(place.client, place.database, order_process_id(order_id), reason=REASON, wait=MINUTE)
        assert await state(place, order_id) == ("cancelled", "compensated")


async def terminated(place: RunningShop, order_id: str) -> None:
    async with place.worker([gate := Gate("complete-order")]):
        handle = await place.start(order_id)
        await gate.reached.wait()
        await handle.terminate()
        assert await state(place, order_id) == ("terminated", "failed")
        gate.opened.set()  # what the terminated run still had in hand comes too late


async def half_undone(place: RunningShop, order_id: str) -> None:
    faults = Faults({"complete-order": "before", "void-shipping-label": "before", "release-inventory": "before"})
    async with place.worker([faults]):
        await place.expect_failure(order_id)
        assert await state(place, order_id) == ("failed", "compensation_failed")


@pytest.mark.parametrize("end_badly", [refused_by_the_carrier, cancelled, terminated, half_undone])
async def test_an_order_that_ended_badly_is_fulfilled_by_a_retry(
    place: RunningShop, order: str, end_badly: Callable[[RunningShop, str], Awaitable[None]]
) -> None:  # (E6, E12)
    await end_badly(place, order)
    before = await get_status(place.client, order_process_id(order))
    async with place.worker():
        run_id = await again(place, order_process_id(order))
        assert run_id != before.run_id
        assert (await place.handle(order).result()).status == "fulfilled"
        found = await get_status(place.client, order_process_id(order))
    assert (found.run_id, found.type, found.status, found.state) == (run_id, before.type, "completed", "completed")
    labels = await place.labels(order)
    assert labels["live"] == 1 and labels["bought"] == labels["refunded"] + 1
    assert len(place.mails("order-shipped", order)) == 1
    assert await place.data.sql(LEVEL) == [(2, 0)]
    assert await place.data.sql("SELECT hold_reason FROM orders") == [None]
    assert await place.findings() == []


async def test_the_new_run_is_found_as_the_old_one_was(place: RunningShop, order: str) -> None:
    await refused_by_the_carrier(place, order)
    old = await place.handle(order).describe()
    run_id = await again(place, order_process_id(order))
    new = await place.client.get_workflow_handle(order_process_id(order), run_id=run_id).describe()
    assert await new.static_summary() == await old.static_summary() == f"Order {order}"
    found = {pair.key.name: pair.value for pair in new.typed_search_attributes.search_attributes}
    assert found == {"OrderId": order, "SagaState": "running"}
    await place.handle(order).terminate()


async def test_the_reason_stays_with_us_and_out_of_temporal(place: RunningShop, order: str) -> None:
    await refused_by_the_carrier(place, order)
    failed = (await place.handle(order).describe()).run_id
    async with place.worker():
        await again(place, order_process_id(order))
        await wait_for_end(place.handle(order))
    assert await place.data.sql(ACTIONS) == [(order_process_id(order), failed, "retry", REASON, "bob")]
    history: WorkflowHistory = await place.handle(order).fetch_history()
    assert REASON not in history.to_json() and "bob" not in history.to_json()


async def test_two_retries_of_a_run_at_once_start_one(place: RunningShop, order: str) -> None:
    await refused_by_the_carrier(place, order)
    runs = await asyncio.gather(*(again(place, order_process_id(order)) for _ in range(5)), return_exceptions=True)
    new = (await place.handle(order).describe()).run_id
    assert new in runs
    assert {str(run) for run in runs} <= {new, f"Cannot retry {order_process_id(order)}: it runs."}
    async with place.worker():
        assert (await place.handle(order).result()).status == "fulfilled"
    assert (await place.handle(order).describe()).run_id == new
    assert (await place.labels(order))["live"] == 1


async def test_a_customer_who_was_not_told_is_told_by_a_retry(place: RunningShop, order: str) -> None:  # (V5)
    await place.data.sql("UPDATE orders SET email = 'ann@refused.example'")
    async with place.worker():
        assert not (await place.process(order)).notification_sent
        await place.data.sql(CORRECT)
        await again(place, order_process_id(order))
        assert (await place.handle(order).result()).notification_sent
        with pytest.raises(RetryRefused, match="it is completed"):
            await again(place, order_process_id(order))
    assert len(place.mails("order-shipped", order)) == 1
    assert (await place.labels(order))["shipments"] == 1
    assert await place.findings() == []


async def test_a_customer_who_was_not_welcomed_is_welcomed_by_a_retry(place: RunningShop) -> None:
    process = registration_process_id("zoe@refused.example")
    async with place.worker():
        first = await register_customer(place.client, **(ANN | {"email": "zoe@refused.example"}))
        assert not first.email_sent
        await place.data.sql(CORRECT.replace("order-shipped", "welcome"))
        await again(place, process)
        second = await wait_for_result(place.client.get_workflow_handle(process))
        assert second == first.model_copy(update={"email_sent": True}).model_dump()
        with pytest.raises(RetryRefused, match="it is completed"):
            await again(place, process)
    assert len(place.mails("welcome")) == 1
    assert await place.findings() == []


async def test_an_order_that_the_job_started_is_retried_although_it_is_on_hold(place: RunningShop, order: str) -> None:
    await place.inject_carrier_fault(operation="buy", fault="422", order_id=order)
    async with place.worker():
        await (await start(place.client, "process-pending-orders", PendingOrders())).result()
        assert (await place.data.facts(order, "hold_reason"))[0] == "failed: CarrierRefused"
        await place.clear_carrier_faults()
        await again(place, order_process_id(order))
        assert (await place.handle(order).result()).status == "fulfilled"
    assert await place.findings() == []


async def test_a_run_that_is_fine_is_not_retried(place: RunningShop, order: str) -> None:
    async with place.worker([gate := Gate("create-fulfillment")]):
        handle = await place.start(order)
        await gate.reached.wait()
        with pytest.raises(RetryRefused, match="it runs"):
            await again(place, handle.id)
        gate.opened.set()
        await handle.result()
        with pytest.raises(RetryRefused, match="it is completed"):
            await again(place, handle.id)
        with pytest.raises(CancelRefused, match="it is completed"):
            await cancel(place.client, place.database, handle.id, reason=REASON)
    assert await place.data.sql(ACTIONS) == []


async def test_what_is_not_there_or_said_at_too_great_length_is_refused(place: RunningShop, order: str) -> None:
    handle = await place.start(order)
    for act in (retry, cancel):
        with pytest.raises(ProcessNotFound):
            await act(place.client, place.database, "nobody", reason=REASON)
        with pytest.raises(BadInput) as refused:
            await act(place.client, place.database, handle.id, reason="x" * 1_001)
        assert [problem.field for problem in refused.value.fields] == ["reason"]
    await handle.terminate()


async def test_a_registration_that_failed_is_retried_with_the_hash_that_it_began_with(place: RunningShop) -> None:
    faults = Faults({"create-auth-user": "before"})
    process = registration_process_id(ANN["email"])
    async with place.worker([faults]):
        with pytest.raises(ProcessFailed):
            await register_customer(place.client, **ANN)
        faults.steps.clear()
        await again(place, process)
        assert (await wait_for_result(place.client.get_workflow_handle(process)))["email_sent"]
        with pytest.raises(CustomerAlreadyExists):
            await register_customer(place.client, **ANN)
        await again(place, process)  # it fails by rule again, and harms nobody
        with pytest.raises(CustomerAlreadyExists):
            await wait_for_result(place.client.get_workflow_handle(process))
    assert len(place.mails("welcome")) == 1
    assert await place.findings() == []


async def test_a_scheduled_run_is_retried_for_the_time_that_it_was_meant_for(place: RunningShop) -> None:
    await apply_jobs(place.client, [NIGHTLY], key_id="a", paused=True)
    schedule = place.client.get_schedule_handle(NIGHTLY.id)
    await schedule.trigger()

    async def triggered() -> str | None:
        runs = (await schedule.describe()).raw_description.info.recent_actions
        return runs[0].start_workflow_result.workflow_id if runs else None

    run = place.client.get_workflow_handle(await until(triggered))
    nominal = (await run.describe()).typed_search_attributes
    await run.terminate()
    await again(place, run.id)
    assert (await run.describe()).typed_search_attributes == nominal
    async with worker(place.client):
        assert str(await run.result()).removesuffix("Z") in run.id.replace("Z", "")
    await forget(place.client, NIGHTLY.id)


async def test_a_job_is_not_retried_while_another_run_of_it_is_open(place: RunningShop) -> None:
    nightly = await place.client.start_workflow("upkeep", Upkeep(), id=f"upkeep-{uuid4()}", task_queue=TASK_QUEUE)
    await nightly.terminate()
    by_hand = await start(place.client, "upkeep", Upkeep())
    with pytest.raises(JobInProgress):
        await again(place, nightly.id)
    await by_hand.terminate()
    async with place.worker():
        await again(place, nightly.id)
        assert (await place.client.get_workflow_handle(nightly.id).result())["failed"] == 0


class Place(ProcessInput):
    """How far it has come."""

    number: int = 0


@workflow.defn(name="trial-long", sandboxed=False)
class Long:
    """Goes on as a new run, and never ends."""

    @workflow.run
    async def run(self, place: Place) -> None:
        if place.number == 0:
            workflow.continue_as_new(Place(number=1))
        await workflow.wait_condition(lambda: False)


async def test_a_process_that_went_on_as_a_new_run_is_begun_from_its_beginning(place: RunningShop) -> None:
    continued = WorkflowExecutionStatus.CONTINUED_AS_NEW
    async with Worker(place.client, task_queue="long", workflows=[Long]):
        begun = await place.client.start_workflow(Long.run, Place(), id=f"long-{uuid4()}", task_queue="long")
        latest = place.client.get_workflow_handle(begun.id)

        async def went_on() -> bool | None:
            return (await latest.describe()).run_id != begun.first_execution_run_id or None

        await until(went_on)
        await latest.terminate()
        run_id = await again(place, begun.id)
        new = place.client.get_workflow_handle(begun.id, run_id=run_id)

        async def continues() -> bool | None:
            return (await new.describe()).status == continued or None

        assert await until(continues)
        await latest.terminate()
