"""Jobs end with the right counts, with nothing done twice, although their workers are killed or stopped."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.worker import Worker

from commerce.messages.analytics import Analytics
from commerce.messages.carts import CleanUpCarts
from commerce.messages.jobs import JobInput
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.upkeep import Upkeep
from starter.processes import TASK_QUEUE
from tests.faults import Gate, ShortBackoff
from tests.polling import until_lock_wait
from tests.running_shop import RunningShop
from tests.system.workers import WorkerProcesses
from worker import WORKFLOWS, open_activities
from workflows.engine.job import MAX_ERRORS

pytestmark = pytest.mark.waits(5)

Results = Mapping[str, dict[str, Any]]

DEADLINE = 150  # seconds
LONG_AGO = datetime.now(UTC) - timedelta(days=3 * 365)

# The points where workers hang in each job, one kill after the other.
POINTS = {
    "cleanup-expired-carts": ("delete-expired-carts/1 after", "delete-expired-carts/2 after-expire"),
    "sync-inventory": (
        "sync-stock-page/1 after-levels",
        "sync-stock-page/1 after",
        "sync-stock-page/2 before-count_changes",
        "sync-stock-page/3 after-write_levels",
    ),
    "collect-analytics-data": (
        "begin-job after",
        "collect-day after-count_day",
        "collect-day after",
        "send-notification before-send",
        "send-notification after-send",
    ),
    "upkeep": ("prune-ledger/1 after", "prune-ledger/2 after-prune_keys"),
}
DAY, SOLD = date(2026, 1, 5), 5
OPTIONS: Mapping[str, JobInput] = {
    "cleanup-expired-carts": CleanUpCarts(batch=3),
    "sync-inventory": SyncInventory(page=3, batch=1),
    "collect-analytics-data": Analytics(date=DAY),
    "upkeep": Upkeep(batch=3),
}
# The points where the worker hangs in the orders that process-pending-orders starts.
ORDERS = (
    "reserve-inventory after",
    "create-fulfillment before",
    "create-shipping-label after-buy",
    "complete-order before",
    "complete-order after",
    "send-notification after-send",
)
CARTS, LEVELS, KEYS, EVENTS, MAILS = 12, 9, 7, 4, 5
OLD_CARTS = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    SELECT 'old-' || n, 'GBP', :at, :at FROM generate_series(1, :number) AS n
"""
OLD_KEYS = """
    INSERT INTO process_generations (business_key, generation, started_at)
    SELECT 'old-' || n, 'g', :at FROM generate_series(1, :number) AS n
"""
OLD_STEPS = """
    INSERT INTO step_ledger (business_key, generation, step, state, call, created_at, updated_at)
    SELECT 'old-' || n, 'g', 'a-step', 'done', '{}', :at, :at FROM generate_series(1, :number) AS n
"""
OLD_EVENTS = """
    INSERT INTO outbox_events (id, type, aggregate, data, published_at)
    SELECT gen_random_uuid(), 'order.placed', 'order/' || n, '{}', :at FROM generate_series(1, :number) AS n
"""
OLD_MAILS = """
    INSERT INTO notifications (key, kind, recipient, status, message_id, created_at)
    SELECT 'old-' || n, 'order-shipped', 'ann@customer.example', 'sent', '<' || n || '@shop.example>', :at
    FROM generate_series(1, :number) AS n
"""
GENERATIONS = "SELECT DISTINCT generation FROM step_ledger WHERE business_key = :id"


async def create_work(shop: RunningShop) -> None:
    """Create the data that every job works on."""
    await create_old_carts(shop, CARTS)
    for number in range(1, LEVELS + 1):
        await shop.data.stock(f"A-{number}", main=5)
    await shop.data.stock("MUG", main=len(ORDERS))
    at = datetime(DAY.year, DAY.month, DAY.day, 12, tzinfo=UTC)
    for number in range(SOLD):
        columns = {"created_at": at, "fulfillment_status": "fulfilled_elsewhere"}
        await shop.data.order(f"sold-{number}", MUG=1, columns=columns)
    for number, _ in enumerate(ORDERS):
        await shop.data.order(str(number), MUG=1)
    await shop.data.order("short", MUG=99)
    await shop.data.variant("CUP", items={})
    await shop.data.order("without-items", CUP=1)
    await create_old_records(shop)
    await oversell(shop, "A-5")
    counts = [{"sku": f"A-{number}", "location": "main", "on_hand": 1} for number in range(1, LEVELS + 1)]
    async with httpx.AsyncClient(base_url=shop.settings.warehouse_url) as http:
        (await http.put("/trial/levels", json=counts)).raise_for_status()


async def create_old_records(shop: RunningShop) -> None:
    for number, insert in ((KEYS, OLD_KEYS), (KEYS, OLD_STEPS), (EVENTS, OLD_EVENTS), (MAILS, OLD_MAILS)):
        await shop.data.sql(insert, number=number, at=LONG_AGO)


async def oversell(shop: RunningShop, sku: str) -> None:
    """Reserve four of five units for an order, as if its process were running."""
    await shop.data.order("waits", (sku, 4), columns={"hold_reason": "cancelled"})
    await shop.data.sql("UPDATE inventory_levels SET reserved_quantity = 4 WHERE inventory_item_id = :sku", sku=sku)
    await shop.data.sql(
        """INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
           SELECT 'waits', id, sku, 'main', 4 FROM order_lines WHERE order_id = 'waits'"""
    )


async def start_job(shop: RunningShop, job_id: str, kind: str, options: JobInput) -> WorkflowHandle[Any, Any]:
    return await shop.client.start_workflow(kind, options, id=job_id, task_queue=TASK_QUEUE)


@pytest.mark.waits(95)
async def test_every_job_ends_correctly_after_kills_in_the_middle(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E11, J3)
    await create_work(shop)
    # Ids are unique: the tests share a Temporal server.
    suffix = shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]
    ids = {kind: f"{kind}-{suffix}" for kind in (*POINTS, "process-pending-orders")}
    started: dict[str, WorkflowHandle[Any, Any]] = {}
    for round_number in range(max(map(len, POINTS.values()))):
        points = {ids[kind]: places[round_number] for kind, places in POINTS.items() if round_number < len(places)}
        orders = {str(number): point for number, point in enumerate(ORDERS)} if round_number == 0 else {}
        worker = await workers.start_pausing(points | orders)
        if round_number == 0:
            options = {"process-pending-orders": PendingOrders(), **OPTIONS}
            started = {kind: await start_job(shop, ids[kind], kind, value) for kind, value in options.items()}
        await workers.wait_until_hanging(*points, *orders)
        await worker.kill()

    await workers.start()
    async with asyncio.timeout(DEADLINE):
        outcomes = await asyncio.gather(*(job.result() for job in started.values()))
    results: Results = dict(zip(started, outcomes, strict=True))

    assert counts(results["cleanup-expired-carts"], "changed", "failed") == (CARTS, 0)
    assert counts(results["sync-inventory"], "changed", "oversold", "failed") == (LEVELS, 1, 0)
    assert counts(results["upkeep"], "changed", "failed") == (KEYS + EVENTS + MAILS, 0)
    counted = results["collect-analytics-data"]
    assert (counted["currencies"][0]["orders"], counted["report_sent"]) == (SOLD, True)
    names = ("seen", "changed", "insufficient_inventory", "failed", "joined")
    assert counts(results["process-pending-orders"], *names) == (len(ORDERS) + 2, len(ORDERS), 1, 1, 0)
    await check(shop)


def counts(result: dict[str, Any], *names: str) -> tuple[int, ...]:
    return tuple(result[name] for name in names)


async def check(shop: RunningShop) -> None:
    """Check that everything the jobs had to do was done once."""
    kinds = [kind for kind, _, _ in await shop.data.events()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "cart.expired": CARTS,
        "inventory.updated": LEVELS,
        "order.fulfilled": len(ORDERS),
        "order.insufficient_inventory": 1,
    }
    assert await shop.data.sql("SELECT id FROM carts") == []
    for number in range(1, LEVELS + 1):
        assert [(units, reason) for _, units, reason, _ in await shop.data.movements(f"A-{number}")] == [(-4, "sync")]
    assert await shop.data.sql("SELECT orders FROM daily_metrics") == [SOLD]
    assert mails(shop, "daily-report") == 1
    assert mails(shop, "order-shipped") == len(ORDERS)
    assert mails(shop, "oversold") == mails(shop, "insufficient-inventory") == mails(shop, "order-failed") == 1
    assert shop.mails("job-failure") == shop.mails("inventory-sync-failure") == []
    for order_id in map(str, range(len(ORDERS))):
        labels = await shop.labels(order_id)
        assert (labels["bought"], labels["refunded"]) == (1, 0)
        assert len(await shop.data.sql(GENERATIONS, id=order_process_id(order_id))) == 1
    assert [(found.rule, found.subject) for found in await shop.findings()] == [
        ("open-order-holds-nothing", "order waits")
    ]


def mails(shop: RunningShop, kind: str) -> int:
    """Count the mails of a kind; copies with the same Message-ID count as one."""
    return len({mail["Message-ID"] for mail in shop.mails(kind)})


async def create_old_carts(shop: RunningShop, number: int) -> str:
    """Create old carts; return an id for the job that will delete them."""
    await shop.data.sql(OLD_CARTS, number=number, at=LONG_AGO)
    return f"cleanup-expired-carts-{shop.settings.database_url.get_secret_value().rsplit('/', 1)[1]}"


async def test_a_worker_stopped_during_a_batch_is_no_error_of_the_job(shop: RunningShop) -> None:  # (J2)
    job_id = await create_old_carts(shop, 3)
    job = await start_job(shop, job_id, "cleanup-expired-carts", CleanUpCarts())
    for _ in range(MAX_ERRORS):
        async with worker_without_grace(shop, gate := Gate("delete-expired-carts")):
            await gate.reached.wait()
    async with shop.worker([ShortBackoff()]):
        assert (await job.result())["changed"] == 3
    failures = [event.activity_task_failed_event_attributes for event in (await job.fetch_history()).events]
    assert len([each for each in failures if each.scheduled_event_id]) == MAX_ERRORS
    assert shop.mails("job-failure") == []


@asynccontextmanager
async def worker_without_grace(shop: RunningShop, gate: Gate) -> AsyncIterator[None]:
    """Run a worker that waits for no step when it stops."""
    async with (
        open_activities(shop.settings) as steps,
        Worker(
            shop.client,
            task_queue=TASK_QUEUE,
            workflows=WORKFLOWS,
            activities=steps,
            interceptors=[gate, ShortBackoff()],
        ),
    ):
        yield


async def test_a_cancelled_job_ends_after_its_current_batch(shop: RunningShop) -> None:
    job_id = await create_old_carts(shop, 3)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        job = await start_job(shop, job_id, "cleanup-expired-carts", CleanUpCarts(batch=1))
        await gate.reached.wait()
        await job.cancel()
        gate.opened.set()
        await wait_until_cancelled(job)
    assert len(await shop.data.sql("SELECT id FROM carts")) == 2
    assert shop.mails("job-failure") == []


async def test_a_hanging_batch_is_cancelled_with_its_job(shop: RunningShop) -> None:
    job_id = await create_old_carts(shop, 3)
    async with shop.worker(), shop.database.transaction() as tx:
        await tx.execute(text("LOCK TABLE carts"))
        job = await start_job(shop, job_id, "cleanup-expired-carts", CleanUpCarts())
        await until_lock_wait(shop.data.sql)
        await job.cancel()
        await wait_until_cancelled(job)
    event_types = [event.event_type for event in (await job.fetch_history()).events]
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_CANCELED in event_types  # the batch heartbeats, so it did not time out
    assert len(await shop.data.sql("SELECT id FROM carts")) == 3


async def wait_until_cancelled(job: WorkflowHandle[Any, Any]) -> None:
    async with asyncio.timeout(DEADLINE):
        with pytest.raises(WorkflowFailureError):
            await job.result()
    assert (await job.describe()).status == WorkflowExecutionStatus.CANCELED
