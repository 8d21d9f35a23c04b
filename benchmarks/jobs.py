"""Measure the duration, memory and history length of the jobs: `python benchmarks/jobs.py PART [--size N]`.

PART is `sync` (N SKUs at two locations, a tenth of them with different stock at the warehouse), `pending` (N paid
one-line orders, with label and mail) or `analytics` (a day of N orders in a month of such days, counted five times).
"""

import asyncio
import time
from datetime import timedelta
from statistics import median

import httpx
from temporalio.client import Client

from benchmarks.seeded_shop import DAY, PRODUCTS, Bench, Memory, measure
from commerce import analytics
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.settings import load_settings

MAX_SYNC_SECONDS, MAX_GROWTH_MIB, MAX_HISTORY_EVENTS, MAX_DAY_SECONDS = 60, 50, 5_000, 2
SKUS, ORDERS, DAY_ORDERS = 200_000, 5_000, 100_000
DAYS, REPEATS, SET_AT_ONCE = 30, 5, 5_000
CUSTOMERS = 50_000


async def sync(bench: Bench, size: int) -> bool:
    await bench.create_goods(size)
    changed_levels = [
        {"sku": f"SKU-{number}", "location": location, "on_hand": 900}
        for number in range(1, size + 1, 10)
        for location in ("main", "overflow")
    ]
    async with httpx.AsyncClient(base_url=bench.warehouse_url, timeout=60) as http:
        for first in range(0, len(changed_levels), SET_AT_ONCE):
            (await http.put("/trial/levels", json=changed_levels[first : first + SET_AT_ONCE])).raise_for_status()
    memory = Memory(bench.worker)
    async with memory:
        result, seconds = await bench.run("sync-inventory", SyncInventory())
    print(f"{result['seen']:,} SKUs, {result['levels']:,} levels, {result['changed']:,} changed: {seconds:.1f} s")
    print(f"again, without changes: {(await bench.run('sync-inventory', SyncInventory()))[1]:.1f} s")
    print(f"{memory}; longest history {await longest_history(bench.client, 'sync-inventory'):,} events")
    return bool(result["changed"] == len(changed_levels) and seconds <= MAX_SYNC_SECONDS)


async def pending(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size, customers=size, days=1, lines=1, status="not_fulfilled")
    memory = Memory(bench.worker)
    async with memory:
        result, seconds = await bench.run("process-pending-orders", PendingOrders())
    longest = await longest_history(bench.client, "process-pending-orders")
    print(f"{result['changed']:,} of {size:,} orders fulfilled: {seconds:.1f} s, {size / seconds:.1f} orders/s")
    print(f"{memory}; longest history {longest:,} events")
    return result["changed"] == size and memory.growth < MAX_GROWTH_MIB and longest < MAX_HISTORY_EVENTS


async def collect_day(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size * DAYS, customers=CUSTOMERS, days=DAYS, lines=2, status="fulfilled_elsewhere")
    zone, day = load_settings({}).zone, (DAY + timedelta(days=DAYS // 2)).date()
    seconds = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        async with bench.database.transaction() as tx:
            counted = await analytics.count_day(tx, day, zone, "GBP")
        seconds.append(time.perf_counter() - started)
    shown = ", ".join(f"{each:.2f}" for each in seconds)
    print(f"{counted.currencies[0].orders:,} orders of {size * DAYS:,}: median {median(seconds):.2f} s ({shown})")
    return median(seconds) <= MAX_DAY_SECONDS


async def longest_history(client: Client, job: str) -> int:
    """Return the number of events in the longest history of a job's runs."""
    await asyncio.sleep(2)  # listings lag behind
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{job}'")]
    handles = [client.get_workflow_handle(run.id, run_id=run.run_id) for run in runs]
    return max([(await handle.describe()).history_length for handle in handles])


PARTS = {"sync": (sync, SKUS), "pending": (pending, ORDERS), "analytics": (collect_day, DAY_ORDERS)}

if __name__ == "__main__":
    measure(__doc__, PARTS)
