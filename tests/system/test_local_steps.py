"""A worker that is lost during local steps loses no effect: they run again, from the first one, on another worker."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client

from starter.client import start
from starter.entries import Registration
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.system.workers import WorkerProcesses

pytestmark = pytest.mark.waits

STEPS = ("validate-order", "check-inventory", "reserve-inventory", "create-fulfillment")
RECOVERY = timedelta(seconds=15)  # until Temporal gives the task of a lost worker to another one
ANN = {"email": "ann@shop.example", "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}
IS_RESERVED = "SELECT 1 FROM step_ledger WHERE step = 'reserve-inventory' AND state = 'done'"
ACCOUNTS = "SELECT count(*) FROM customers JOIN auth_users ON customer_id = customers.id WHERE has_account"
MOVED = "SELECT sum(quantity) FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id WHERE {}"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.stock("MUG", main=100)
        yield running


def is_marker(event: HistoryEvent) -> bool:
    return event.HasField("marker_recorded_event_attributes")


async def lost_task(shop: RunningShop, order_id: str) -> timedelta | None:
    """Return after what time Temporal gave up the first task of an order, or None if that task was completed."""
    events = (await shop.handle(order_id).fetch_history()).events
    for before, after in itertools.pairwise(events):
        if after.HasField("workflow_task_timed_out_event_attributes"):
            return after.event_time.ToDatetime() - before.event_time.ToDatetime()
        if is_marker(after):
            break
    return None


async def test_orders_are_fulfilled_once_after_a_kill_inside_each_local_step(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E11)
    points = {f"{step}-{place}": f"{step} {place}" for step in STEPS for place in ("before", "after")}
    for order_id in points:
        await shop.data.order(order_id, MUG=1)
    first = await workers.start_pausing(points)
    await asyncio.gather(*map(shop.start, points))
    await workers.wait_until_hanging(*points)
    await first.kill()
    await workers.start()
    results = await asyncio.gather(*(shop.handle(order_id).result() for order_id in points))
    assert {result.status for result in results} == {"fulfilled"}
    assert [(await shop.labels(order_id))["bought"] for order_id in points] == [1] * len(points)
    assert len(shop.mails("order-shipped")) == len(points)
    assert await shop.data.levels("MUG") == {"main": (100 - len(points), 0)}
    assert await shop.findings() == []
    lost = [time for order_id in points if (time := await lost_task(shop, order_id)) is not None]
    assert lost and max(lost) < RECOVERY


async def test_an_order_that_changes_after_a_worker_was_lost_is_fulfilled_as_it_is_now(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (V12)
    """The lost worker has reserved one unit. History does not have the reservation, and the ledger has it."""
    await shop.data.order("1", MUG=1)
    first = await workers.start_pausing({"1": "create-fulfillment before"})
    await shop.start("1")
    await workers.wait_until_hanging("1")
    await first.kill()
    assert await shop.data.sql(IS_RESERVED) == [1]
    await shop.data.sql("UPDATE order_lines SET quantity = 2 RETURNING 1")
    await shop.data.sql("UPDATE orders SET revision = 2, decisive_revision = 2 RETURNING 1")
    await workers.start()
    assert (await shop.process("1")).status == "fulfilled"
    assert await shop.data.sql(MOVED.format("cancelled_at IS NULL")) == [2]
    assert await shop.data.levels("MUG") == {"main": (98, 0)}
    assert (await shop.labels("1"))["bought"] == 1
    assert await shop.findings() == []


async def test_an_order_that_is_cancelled_by_the_shop_after_a_worker_was_lost_is_undone(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E2)
    """The run fails at its first step, but the ledger knows what a lost worker has done after that step."""
    await shop.data.order("1", MUG=1)
    first = await workers.start_pausing({"1": "create-fulfillment after"})
    await shop.start("1")
    await workers.wait_until_hanging("1")
    await first.kill()
    assert await shop.data.levels("MUG") == {"main": (99, 0)}
    await shop.data.sql(
        "UPDATE orders SET revision = 2, decisive_revision = 2, cancelled_at = now() WHERE id = '1' RETURNING 1"
    )
    await workers.start()
    await asyncio.gather(shop.handle("1").result(), return_exceptions=True)
    assert await shop.data.levels("MUG") == {"main": (100, 0)}
    assert (await shop.labels("1"))["bought"] == 0
    assert await shop.findings() == []


async def test_an_order_that_was_short_when_a_worker_was_lost_is_fulfilled_when_it_no_longer_is(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E2, E12)
    """The lost worker asks the ledger what to undo. History does not have that, so the next one decides anew."""
    await shop.data.stock("CUP", main=0)
    await shop.data.order("1", CUP=1)
    first = await workers.start_pausing({"1": "close-generation after"})
    await shop.start("1")
    await workers.wait_until_hanging("1")
    await first.kill()
    await shop.data.add_stock("CUP", main=5)
    await workers.start()
    result = await shop.handle("1").result()
    assert result.status in ("fulfilled", "insufficient_inventory")
    assert await shop.data.order_columns("1", "hold_reason") == (None,)
    assert await shop.findings() == []


async def test_a_cancel_after_a_worker_was_lost_undoes_what_it_did(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E2, E10)
    await shop.data.order("1", MUG=1)
    first = await workers.start_pausing({"1": "create-fulfillment after"})
    handle = await shop.start("1")
    await workers.wait_until_hanging("1")
    await first.kill()
    await handle.cancel()
    await workers.start()
    await asyncio.gather(handle.result(), return_exceptions=True)
    assert await shop.data.levels("MUG") == {"main": (100, 0)}
    assert (await shop.labels("1"))["bought"] == 0
    assert await shop.data.order_columns("1", "hold_reason") == ("cancelled",)
    assert await shop.findings() == []


@pytest.mark.parametrize("step", ["create-customer", "create-auth-user"])
async def test_a_registration_is_completed_once_after_its_worker_was_lost_in_a_local_step(
    shop: RunningShop, workers: WorkerProcesses, step: str
) -> None:  # (E11)
    handle = await start(shop.client, "customer-registration", Registration.model_validate(ANN))
    first = await workers.start_pausing({handle.id: f"{step} after"})
    await workers.wait_until_hanging(handle.id)
    await first.kill()
    await workers.start()
    result = await handle.result()
    assert result["email_sent"]
    assert await shop.data.sql(ACCOUNTS) == [1]

    async def welcomed() -> bool | None:
        return len(shop.mails("welcome")) == 1 or None

    assert await until(welcomed)
    assert await shop.findings() == []
