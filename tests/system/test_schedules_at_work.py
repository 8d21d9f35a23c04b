"""Scheduled jobs with real workers: runs never overlap, days are counted once, refused orders are left alone."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from temporalio.client import (
    Client,
    ScheduleBackfill,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    WorkflowExecutionDescription,
)

from commerce.errors import JobInProgress
from commerce.messages.carts import CleanUpCarts
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from starter.client import start
from starter.operate.actions import cancel
from starter.schedules.actions import backfill, trigger
from starter.schedules.queries import get_schedule
from starter.schedules.table import build_schedule, scheduled_jobs
from tests.faults import Gate
from tests.polling import until, until_lock_wait
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.starter.sample_jobs import delete_schedules
from tests.system.workers import worker_processes

pytestmark = pytest.mark.waits(5)

CLEAN_UP, PENDING, ANALYTICS = "cleanup-expired-carts", "process-pending-orders", "collect-analytics-data"
ROUNDS, SKIPPED = 3, 2
RUNS = 100
DAY = timedelta(days=1)
REPORTS = "SELECT data ->> 'day' FROM notifications WHERE kind = 'daily-report' AND status = 'sent' ORDER BY 1"
METRICS = "SELECT day, orders FROM daily_metrics ORDER BY day, currency"
LABELLING = "SELECT 1 FROM step_ledger WHERE step = 'create-shipping-label'"
# All rows about an order and its process.
ORDER_ROWS = """
    SELECT CAST(to_jsonb(found) AS text) FROM (
        SELECT 'order' AS kind, to_jsonb(orders) AS row FROM orders WHERE id = :id
        UNION ALL SELECT 'run', to_jsonb(run) FROM process_generations AS run WHERE business_key = :process
        UNION ALL SELECT 'step', to_jsonb(step) FROM step_ledger AS step WHERE business_key = :process
        UNION ALL SELECT 'event', to_jsonb(event) FROM outbox_events AS event WHERE aggregate = 'order/' || :id
        UNION ALL SELECT 'mail', to_jsonb(mail) FROM notifications AS mail WHERE order_id = :id
    ) AS found ORDER BY 1
"""


@pytest.fixture
async def idle_client(client: Client) -> AsyncIterator[Client]:
    """A client of a Temporal server without schedules of these jobs."""
    await delete_schedules(client, CLEAN_UP, PENDING, ANALYTICS)
    yield client
    await delete_schedules(client, CLEAN_UP, PENDING, ANALYTICS)


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, idle_client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, idle_client) as running:
        yield running


async def create_schedule(shop: RunningShop, job_id: str, every: timedelta | None = None) -> None:
    """Create the schedule of a job as the worker does: with this interval, or paused with its usual times."""
    [job] = [job for job in scheduled_jobs(shop.settings) if job.id == job_id]
    wanted = build_schedule(job, paused=every is None)
    if every:
        wanted = replace(wanted, spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]))
    await shop.client.create_schedule(job_id, wanted)


async def scheduled_runs(shop: RunningShop, job_id: str) -> list[WorkflowExecutionDescription]:
    """Return the last ten runs that a schedule has started, oldest first."""
    actions = (await get_schedule(shop.client, job_id)).raw_description.info.recent_actions
    ids = [action.start_workflow_result for action in actions]
    return [await shop.client.get_workflow_handle(run.workflow_id, run_id=run.run_id).describe() for run in ids]


async def wait_until_idle(shop: RunningShop, job_id: str, runs: int) -> None:
    """Wait until a schedule has started this number of runs and all have ended."""

    async def is_idle() -> bool | None:
        info = (await get_schedule(shop.client, job_id)).raw_description.info
        return (info.action_count == runs and not info.running_workflows and not info.buffer_size) or None

    await until(is_idle)


async def test_runs_of_one_job_never_overlap_on_two_workers_or_when_started_by_hand(
    shop: RunningShop, tmp_path: Path
) -> None:  # (J3, E16)
    async with worker_processes(shop, tmp_path / "workers") as workers:
        await asyncio.gather(workers.start(), workers.start())
        await create_schedule(shop, CLEAN_UP, every=timedelta(seconds=2))
        for _ in range(ROUNDS):
            await check_no_second_run(shop)
        await shop.client.get_schedule_handle(CLEAN_UP).pause()
        runs = await until(lambda: closed_runs(shop))
    assert len(runs) >= ROUNDS
    for earlier, later in pairwise(runs):
        assert earlier.close_time is not None
        assert earlier.close_time <= later.start_time


async def test_runs_that_a_schedule_lets_overlap_work_one_at_a_time(shop: RunningShop) -> None:  # (J3, E16)
    """Someone has set the overlap policy "Allow All" in Temporal's UI."""
    await create_schedule(shop, CLEAN_UP)
    first = datetime(2026, 3, 1, tzinfo=UTC)
    period = ScheduleBackfill(first, first + ROUNDS * DAY, overlap=ScheduleOverlapPolicy.ALLOW_ALL)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        await shop.client.get_schedule_handle(CLEAN_UP).backfill(period)
        await gate.reached.wait()

        async def one_is_left() -> list[WorkflowExecutionDescription] | None:
            runs = await scheduled_runs(shop, CLEAN_UP)
            return runs if len(runs) == ROUNDS and [run.close_time for run in runs].count(None) == 1 else None

        runs = await until(one_is_left)
        [working] = [run.id for run in runs if run.close_time is None]
        gate.opened.set()
        await shop.client.get_workflow_handle(working).result()
    assert len({run.id for run in runs}) == ROUNDS
    assert shop.mails("job-failure") == []


async def check_no_second_run(shop: RunningShop) -> None:
    """Block a scheduled run until its schedule has skipped SKIPPED others; check that no run can be started by hand."""
    before = (await get_schedule(shop.client, CLEAN_UP)).info.num_actions_skipped_overlap

    async def has_skipped() -> bool | None:
        return (
            (await get_schedule(shop.client, CLEAN_UP)).info.num_actions_skipped_overlap >= before + SKIPPED
        ) or None

    async with shop.database.transaction() as tx:
        await tx.execute(text("LOCK TABLE carts"))
        await until_lock_wait(shop.data.sql)
        with pytest.raises(JobInProgress):
            await start(shop.client, CLEAN_UP, CleanUpCarts())
        with pytest.raises(JobInProgress):
            await trigger(shop.client, CLEAN_UP)
        await until(has_skipped)


async def closed_runs(shop: RunningShop) -> list[WorkflowExecutionDescription] | None:
    runs = await scheduled_runs(shop, CLEAN_UP)
    return None if any(run.close_time is None for run in runs) else runs


async def test_a_backfill_of_eight_days_counts_and_reports_eight_days(shop: RunningShop) -> None:  # (E16)
    first = date(2026, 2, 25)  # the eight days span the end of a month
    await create_orders_around_midnights(shop, first, offsets=(0,) * 9)
    await create_schedule(shop, ANALYTICS)
    async with shop.worker():
        await backfill(shop.client, ANALYTICS, first + DAY, first + 9 * DAY)
        await wait_until_idle(shop, ANALYTICS, runs=8)
    days = [first + number * DAY for number in range(8)]
    assert await shop.data.sql(METRICS) == [(day, 2) for day in days]
    assert await shop.data.sql(REPORTS) == [day.isoformat() for day in days]
    assert len(shop.mails("daily-report")) == 8


# UTC offsets in hours at the midnights around three days. Two of the time changes repeat an hour, the others skip one.
@pytest.mark.parametrize(
    ("zone", "first", "offsets"),
    [
        ("Europe/Berlin", date(2025, 10, 25), (2, 2, 1, 1)),
        ("Europe/Berlin", date(2025, 3, 29), (1, 1, 2, 2)),
        ("America/New_York", date(2025, 11, 1), (-4, -4, -5, -5)),
        ("America/New_York", date(2025, 3, 8), (-5, -5, -4, -4)),
        ("Europe/London", date(2025, 3, 28), (0, 0, 0, 1)),
    ],
)
async def test_days_of_23_and_25_hours_are_counted_once(
    tmp_path: Path, database_url: str, idle_client: Client, zone: str, first: date, offsets: tuple[int, ...]
) -> None:  # (J5, E16)
    async with running_shop(tmp_path, database_url, idle_client, COMMERCE_TIMEZONE=zone) as shop:
        await create_orders_around_midnights(shop, first, offsets)
        await create_schedule(shop, ANALYTICS)
        async with shop.worker():
            times = await backfill(shop.client, ANALYTICS, first + DAY, first + 4 * DAY)
            await wait_until_idle(shop, ANALYTICS, runs=len(times))
        days = [first, first + DAY, first + 2 * DAY]
        assert await shop.data.sql(METRICS) == [(day, 2) for day in days]
        assert len(shop.mails("daily-report")) == len(days)


async def create_orders_around_midnights(shop: RunningShop, first: date, offsets: tuple[int, ...]) -> None:
    """Create an order at the first and one at the last instant of each day, one before all days and one after them."""
    await shop.data.variant("MUG")
    midnights = [
        datetime(day.year, day.month, day.day, tzinfo=timezone(timedelta(hours=hours)))
        for number, hours in enumerate(offsets)
        for day in [first + number * DAY]
    ]
    for at in midnights:
        for moment in (at - timedelta(microseconds=1), at):
            columns = {"created_at": moment, "fulfillment_status": "fulfilled_elsewhere"}
            await shop.data.order(moment.isoformat(), MUG=1, columns=columns)


async def test_a_cancelled_or_refused_order_is_not_started_again(shop: RunningShop) -> None:  # (V10)
    await shop.data.stock("MUG", main=1)
    await shop.data.order("cancelled", MUG=1)
    await shop.data.order("refused", MUG=5)
    await shop.inject_carrier_fault(operation="create", fault="slow", seconds=3, order_id="cancelled")
    async with shop.worker():
        await cancel_order(shop, "cancelled")
        assert (await shop.process("refused")).status == "insufficient_inventory"
        before = await order_rows(shop, "cancelled", "refused")
        results = [await run_pending_orders(shop) for _ in range(RUNS)]
    assert [result["seen"] for result in results] == [0] * RUNS
    assert await order_rows(shop, "cancelled", "refused") == before
    assert await shop.findings() == []


async def cancel_order(shop: RunningShop, order_id: str) -> None:
    """Cancel an order's process during create-shipping-label."""
    order = await shop.start(order_id)

    async def is_labelling() -> bool | None:
        return bool(await shop.data.sql(LABELLING)) or None

    await until(is_labelling)
    await cancel(shop.client, shop.database, order_process_id(order_id), reason="not now")
    await wait_for_end(order)


async def order_rows(shop: RunningShop, *order_ids: str) -> list[Any]:
    """Return all rows about these orders."""
    rows = [await shop.data.sql(ORDER_ROWS, id=order_id, process=order_process_id(order_id)) for order_id in order_ids]
    assert all(rows)
    return rows


async def run_pending_orders(shop: RunningShop) -> dict[str, Any]:
    result: dict[str, Any] = await (await start(shop.client, PENDING, PendingOrders())).result()
    return result
