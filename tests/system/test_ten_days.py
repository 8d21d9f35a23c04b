"""Ten days of a shop that exports its orders every day, while we process them and the shop changes them."""

import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from commerce import fulfillment_export
from commerce.imports import import_inventory, import_orders
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.commerce.imports.admin_order import AdminOrder
from tests.faults import ShortBackoff
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop
from tests.system.days.model import Days, violations
from tests.system.days.source import BACKORDER, ITEMS, KIT, LATE, Source

DAYS = range(1, 11)
COUNT_DAYS = (4, 7, 10)  # the other days begin while orders of the day before are being processed
DAYS_WITHOUT_RELAY = (2, 5, 8)  # it stops until the runs of the day before have ended, so no signal warns them
ORDERS_A_DAY, OLD_CHANGES, NEW_CHANGES = 6, 4, 4
ACTIONS = (
    *("pay", "pay", "cancel", "cancel", "move", "edit", "edit", "tag", "refund", "ship", "expire", "release"),
    "release",
)
RUNNING = WorkflowExecutionStatus.RUNNING
Job = WorkflowHandle[Any, Any]
UNPUBLISHED = "SELECT count(*) FROM outbox_events WHERE published_at IS NULL"
IN_PROCESS = "SELECT count(*) FROM fulfillments WHERE completed_at IS NULL AND cancelled_at IS NULL"
WORK = """
    SELECT (SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'),
           (SELECT count(*) FROM step_ledger WHERE state = 'undone'), (SELECT sum(revision - 1) FROM orders)
"""


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop at work that knows the goods, except one."""
    async with running_shop(tmp_path, database_url, client) as shop:
        for item in ITEMS.keys() - {KIT, LATE}:
            await shop.data.variant(item, backorder=item == BACKORDER)
        await shop.data.variant(KIT, items=ITEMS[KIT])
        async with shop.worker([ShortBackoff()]):
            yield shop


async def test_every_order_is_right_after_ten_days_of_changes(shop: RunningShop, tmp_path: Path) -> None:  # (V11, V12)
    source, days = Source(seed=13), Days()
    async with AsyncExitStack() as relay:
        await relay.enter_async_context(relaying(shop))
        exported = await carry_out(shop, source, days, tmp_path, relay)
        await days.note_shipped(shop)
        await report_shipments(shop, source, exported)
        orders_file = tmp_path / "orders.csv"
        await import_day(shop, days, source.export_orders(orders_file), orders_file)
        report = await import_orders(shop.database, [orders_file], currency="GBP")
        assert (report.taken, report.unchanged) == (0, len(source.orders))
        await until_quiet(shop, source)
    sys.stdout.write(f"fulfilled, undone steps, changes: {await shop.data.sql(WORK)}\n")
    assert await violations(shop, days, source) == []


async def carry_out(shop: RunningShop, source: Source, days: Days, folder: Path, relay: AsyncExitStack) -> int:
    """Let ten days pass, until nothing is left to do; return the number of the last shipment that the shop knows."""
    orders_file, stock_file = folder / "orders.csv", folder / "stock.csv"
    exported, job = 0, None
    await import_count(shop, stock_file, source.export_inventory(stock_file, without=LATE))
    for day in DAYS:
        if day in COUNT_DAYS:
            await until_quiet(shop, source, job)
            source.deliver()
        exported = await report_shipments(shop, source, exported)
        await change(source, day)
        snapshot = source.export_orders(orders_file)
        if day in COUNT_DAYS:
            counted_at = source.export_inventory(stock_file)
        if day in DAYS_WITHOUT_RELAY:
            await relay.aclose()
        await import_day(shop, days, snapshot, orders_file)
        if job is not None:
            await job.result()
        if day in DAYS_WITHOUT_RELAY:
            await relay.enter_async_context(relaying(shop))
        job = await start_job(shop, day)
        await until_at_work(shop, job)
        if day in COUNT_DAYS:
            await import_count(shop, stock_file, counted_at)
    await until_quiet(shop, source, job)
    await until_quiet(shop, source, await start_job(shop, DAYS.stop))  # for orders that lacked stock
    return exported


async def change(source: Source, day: int) -> None:
    """Let the shop have a day: it changes orders of yesterday, which we may be processing, and older ones."""
    await until(source.second_has_passed)
    yesterday, older = source.today, [order_id for order_id in source.orders if order_id not in source.today]
    source.change(source.random.sample(yesterday, min(NEW_CHANGES, len(yesterday))), ACTIONS)
    source.change(source.random.sample(older, min(OLD_CHANGES, len(older))), ACTIONS)
    source.place_orders(ORDERS_A_DAY)
    if day == DAYS[-1]:
        source.settle()


async def report_shipments(shop: RunningShop, source: Source, since: int) -> int:
    """Give the shop the export of what was shipped after this number; return the last number in it."""
    page = await shop.data.call(fulfillment_export.load_page, since)
    source.take_in_fulfillments(fulfillment_export.csv_text(page.rows, "shopify"))
    return page.last


async def import_day(shop: RunningShop, days: Days, orders: dict[str, AdminOrder], file: Path) -> None:
    report = await import_orders(shop.database, [file], currency="GBP")
    assert report.bad == []
    days.versions.append(orders)
    await days.note_shipped(shop)


async def import_count(shop: RunningShop, file: Path, counted_at: datetime) -> None:
    report = await import_inventory(shop.database, [file], counted_at=counted_at)
    assert report.bad == report.warnings == []


async def start_job(shop: RunningShop, day: int) -> Job:
    """Process pending orders, as the schedule does."""
    kind = "process-pending-orders"
    entry = PROCESS_TYPES[kind].entry
    return await shop.client.start_workflow(kind, entry(), id=f"{kind}-day-{day}", task_queue=TASK_QUEUE)


async def until_at_work(shop: RunningShop, job: Job) -> None:
    """Wait until an order is in the middle of being processed, or none is left to process."""

    async def at_work() -> bool | None:
        [in_process] = await shop.data.sql(IN_PROCESS)
        return in_process > 0 or await status(job) != RUNNING or None

    await until(at_work)


async def until_quiet(shop: RunningShop, source: Source, job: Job | None = None) -> None:
    """Wait until the job, the events and all runs have ended."""
    if job is not None:
        await job.result()

    async def published() -> bool | None:
        return await shop.data.sql(UNPUBLISHED) == [0] or None

    async def ended() -> bool | None:
        states = [await status(shop.handle(order_id)) for order_id in source.orders]
        return RUNNING not in states or None

    await until(published)
    await until(ended)


async def status(handle: WorkflowHandle[Any, Any]) -> WorkflowExecutionStatus | None:
    """Return the status of the latest run of a process; None: it has none."""
    try:
        return (await handle.describe()).status
    except RPCError as error:
        assert error.status == RPCStatusCode.NOT_FOUND
        return None
