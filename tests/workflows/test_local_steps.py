"""Steps that are tried locally: cancels while they run, slow ones, and what operators see meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from commerce.messages.customers import registration_process_id
from starter.client import start
from starter.entries import Registration
from starter.operate.process_status import get_status
from tests.faults import Faults, Hold
from tests.polling import until
from tests.running_shop import RunningShop, is_cancel_requested, running_shop, wait_for_end
from tests.workflows.test_customer_registration import COUNT_ROWS

CANCELLED = WorkflowExecutionStatus.CANCELED
DEADLINE = 60  # seconds
ANN = Registration(email="ann@shop.example", password="correct horse", first_name="Ann", last_name="Miller")
LOCK_LEVEL = "SELECT 1 FROM inventory_levels WHERE inventory_item_id = 'MUG' FOR UPDATE"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with an order for one of three mugs. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=3)
        await shop.data.order("1", MUG=1)
        yield shop


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("step", ["validate-order", "check-inventory", "reserve-inventory", "create-fulfillment"])
async def test_a_cancel_while_a_local_step_runs_is_seen_before_the_label_and_the_final_step(
    shop: RunningShop, step: str, labelled: bool
) -> None:  # (E10)
    await shop.data.order("2", MUG=1, columns={} if labelled else {"shipping_method": None})
    async with shop.worker([hold := Hold(step)]):
        handle = await shop.start("2")
        await asyncio.wait_for(hold.reached.wait(), DEADLINE)
        await handle.cancel()
        hold.opened.set()
        await wait_for_end(handle)
        states = await shop.states("2")
    assert await shop.status("2") == CANCELLED
    assert states["complete-order"] != "done"
    assert (await shop.labels("2"))["bought"] == 0
    assert await shop.data.levels("MUG") == {"main": (3, 0)}
    assert await shop.data.order_columns("2", "hold_reason") == ("cancelled",)
    assert await shop.data.events() == [] and shop.mails("order-shipped") == []
    assert await shop.findings() == []


@pytest.mark.parametrize("step", ["create-customer", "create-auth-user"])
async def test_a_cancel_while_a_local_step_of_a_registration_runs_leaves_no_account(
    shop: RunningShop, step: str
) -> None:  # (E10)
    async with shop.worker([hold := Hold(step)]):
        handle = await start(shop.client, "customer-registration", ANN)
        await asyncio.wait_for(hold.reached.wait(), DEADLINE)
        await handle.cancel()
        hold.opened.set()
        await wait_for_end(handle)
    assert (await handle.describe()).status == CANCELLED
    assert handle.id == registration_process_id(ANN.email)
    assert await shop.data.sql(COUNT_ROWS) == [0]
    assert await shop.data.events() == [] and shop.mails("welcome") == []
    assert await shop.findings() == []


async def test_a_cancel_before_the_label_of_an_order_without_faults_is_not_asked_for_twice(shop: RunningShop) -> None:
    """Only the first regular step after local ones asks Temporal: the history shows which calls say so."""
    async with shop.worker():
        await shop.process("1")
    asking = [
        (await shop.client.data_converter.decode(scheduled.input.payloads))[0]["asks_for_cancel"]
        for event in (await shop.handle("1").fetch_history()).events
        if (scheduled := event.activity_task_scheduled_event_attributes).activity_type.name
    ]
    assert asking == [True]  # the label: no local step comes between it and the final step


@asynccontextmanager
async def locked(shop: RunningShop) -> AsyncIterator[None]:
    """Keep the stock of mugs locked while the block runs."""
    connection = await asyncpg.connect(shop.settings.database_url.get_secret_value())
    try:
        async with connection.transaction():
            await connection.execute(LOCK_LEVEL)
            yield
    finally:
        await connection.close()


@pytest.mark.waits(25)
async def test_a_slow_local_step_becomes_a_regular_one_and_blocks_no_other_order(shop: RunningShop) -> None:
    await shop.data.stock("CUP", main=3)
    await shop.data.order("other", CUP=1)

    async def regular_attempts() -> int | None:
        described = (await shop.handle("1").describe()).raw_description
        attempts = [step.attempt for step in described.pending_activities]
        assert not described.pending_workflow_task.attempt > 1  # a task that took too long
        return attempts[0] if attempts and attempts[0] > 1 else None

    async with shop.worker():
        async with locked(shop):
            handle = await shop.start("1")
            assert (await shop.process("other")).status == "fulfilled"
            # Two local attempts of 3 s and a regular one of 15 s have ended at the lock.
            await until(regular_attempts)
            status = await get_status(shop.client, handle.id)
            assert status.progress is not None
            [slow] = [step for step in status.progress.steps if step.name == "reserve-inventory"]
            assert (slow.state, slow.attempts) == ("running", 4)
        assert (await handle.result()).status == "fulfilled"
    assert await shop.data.levels("MUG") == {"main": (2, 0)}
    assert await shop.findings() == []


async def test_failed_local_tries_are_counted_as_attempts_of_the_step(shop: RunningShop) -> None:
    async with shop.worker([Faults({"reserve-inventory": "after"}, permanent=False, times=3)]):
        await shop.process("1")
        status = await get_status(shop.client, shop.handle("1").id)
    assert status.progress is not None
    assert {step.name: step.attempts for step in status.progress.steps if step.attempts > 1} == {"reserve-inventory": 4}
    assert await shop.data.levels("MUG") == {"main": (2, 0)}


async def test_a_cancel_is_recorded_while_a_local_step_waits(shop: RunningShop) -> None:
    """A cancel is not refused or lost while the run's worker is busy."""
    async with shop.worker([hold := Hold("reserve-inventory")]):
        handle = await shop.start("1")
        await asyncio.wait_for(hold.reached.wait(), DEADLINE)
        await handle.cancel()
        described = (await handle.describe()).raw_description
        assert described.workflow_extended_info.cancel_requested
        hold.opened.set()
        await wait_for_end(handle)
    assert await is_cancel_requested(handle)
    assert await shop.status("1") == CANCELLED
