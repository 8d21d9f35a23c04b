"""Measure the jobs, and orders that wait: `python benchmarks/jobs.py PART [--size N]`.

PART is `sync` (N SKUs at two locations, a tenth of them with different stock at the warehouse), `pending` (N paid
one-line orders, with label and mail), `analytics` (a day of N orders in a month of such days, counted five times),
`waiting` (N orders wait for a review, everything is restarted, and all are approved at once) or `outage` (N orders wait
for a carrier that answers 500 for some minutes).
Each part starts its own embedded stack, with the real worker, in a temporary folder.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from typing import Any, Self

import httpx
import psutil
from sqlalchemy import text
from temporalio.client import Client

from commerce import analytics
from commerce.database import Database
from commerce.messages.base import Message
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.waits import Answer
from commerce.settings import load_settings
from starter.client import connect, start, start_order
from starter.devstack.stack import Stack
from starter.operate.answers import answer
from starter.telemetry.exit import exit_process

MIB = 1024 * 1024
MAX_SYNC_SECONDS, MAX_GROWTH_MIB, MAX_HISTORY_EVENTS, MAX_DAY_SECONDS = 60, 50, 5_000, 2
SKUS, ORDERS, DAY_ORDERS = 200_000, 5_000, 100_000
WAITING_ORDERS, MAX_WAITING_MIB, MAX_ANSWER_SECONDS = 1_000, 250, 60
AT_ONCE, SETTLE, IDLE, PATIENCE = 30, 10, 30, 600  # orders; seconds
OUTAGE_MINUTES = 4
DAYS, REPEATS, SET_AT_ONCE = 30, 5, 5_000
PRODUCTS, CUSTOMERS = 1_000, 50_000
DAY = datetime(2026, 3, 2, tzinfo=UTC)

SEED_ITEMS = "INSERT INTO inventory_items (id, sku) SELECT 'SKU-' || n, 'SKU-' || n FROM generate_series(1, :size) AS n"
SEED_LOCATIONS = "INSERT INTO locations (id, name, priority) VALUES ('main', 'main', 0), ('overflow', 'overflow', 1)"
SEED_LEVELS = """
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
    SELECT inventory_items.id, locations.id, 1000 FROM inventory_items, locations
"""
SEED_MOVEMENTS = """
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
    SELECT inventory_item_id, location_id, stocked_quantity, 'import', 'seed' FROM inventory_levels
"""
SEED_PRODUCTS = "INSERT INTO products (id, title) SELECT id, id FROM inventory_items"
SEED_VARIANTS = "INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM inventory_items"
SEED_PARTS = """
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id) SELECT id, id FROM inventory_items
"""
SEED_CUSTOMERS = """
    INSERT INTO customers (email) SELECT 'customer-' || n || '@customer.example' FROM generate_series(1, :size) AS n
"""
SEED_ORDERS = """
    INSERT INTO orders (id, customer_id, email, payment_status, fulfillment_status, currency, total, shipping_method,
                        shipping_country, created_at, content_hash)
    SELECT 'O' || n, customer.id, customer.email, 'captured', :status, 'GBP', 250, 'Standard', 'GB',
           CAST(:day AS timestamptz) + n % :days * interval '1 day' + n * interval '864 milliseconds' / :days, ''
    FROM generate_series(1, :size) AS n
    JOIN (SELECT row_number() OVER (ORDER BY id) AS place, * FROM customers) AS customer
        ON place = 1 + abs(hashint8(n)) % (SELECT count(*) FROM customers)
"""
SEED_LINES = """
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
    SELECT orders.id, line, sku, sku, sku, line, 250
    FROM orders, generate_series(1, :lines) AS line,
         LATERAL (SELECT 'SKU-' || 1 + abs(hashtext(orders.id || line)) % :products) AS chosen (sku)
"""


class Bench:
    """An embedded stack that contains only the data that a part seeds."""

    client: Client
    database: Database
    worker: psutil.Process
    carrier_url: str
    warehouse_url: str

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack: Stack

    async def __aenter__(self) -> Self:
        self._stack = Stack(self._folder, port=0, schedules=False, echo=lambda _: None)
        await self._stack.start()
        self.client = await connect(self._stack.environment)
        self.database = Database(load_settings(self._stack.environment).database_url.get_secret_value())
        self.worker = psutil.Process(self._stack.description["worker_pid"])
        self.carrier_url = self._stack.description["carrier_url"]
        self.warehouse_url = self._stack.description["warehouse_url"]
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.database.close()
        await self._stack.stop()

    async def restart(self) -> None:
        """Stop all servers and start them again."""
        await self.__aexit__()
        await self.__aenter__()

    async def idle_cpu(self) -> float:
        """Return the percentage of a core that all servers use while nothing happens."""
        await asyncio.sleep(SETTLE)
        servers = psutil.Process().children(recursive=True)
        before = sum(sum(server.cpu_times()[:2]) for server in servers)
        await asyncio.sleep(IDLE)
        return (sum(sum(server.cpu_times()[:2]) for server in servers) - before) / IDLE * 100

    async def until(self, query: str, number: int) -> None:
        """Wait until a query counts this number."""
        async with asyncio.timeout(PATIENCE):
            while True:
                async with self.database.transaction() as tx:
                    if (await tx.execute(text(query))).scalar_one() == number:
                        return
                await asyncio.sleep(0.3)

    async def sql(self, statement: str, **values: object) -> None:
        """Execute a statement without a time limit."""
        async with self.database.transaction() as tx:
            await tx.execute(text("SET LOCAL statement_timeout = 0"))
            await tx.execute(text(statement), values)

    async def create_goods(self, number: int) -> None:
        """Create variants, each with stock at two locations."""
        await self.sql(SEED_ITEMS, size=number)
        for statement in (SEED_LOCATIONS, SEED_LEVELS, SEED_MOVEMENTS, SEED_PRODUCTS, SEED_VARIANTS, SEED_PARTS):
            await self.sql(statement)
        await self.sql("ANALYZE")

    async def create_orders(self, number: int, *, customers: int, days: int, lines: int, status: str) -> None:
        """Create orders, spread evenly over customers and over days starting with DAY."""
        await self.sql(SEED_CUSTOMERS, size=customers)
        await self.sql(SEED_ORDERS, size=number, days=days, day=DAY, status=status)
        await self.sql(SEED_LINES, lines=lines, products=PRODUCTS)
        await self.sql("ANALYZE")

    async def run(self, job: str, options: Message) -> tuple[dict[str, Any], float]:
        """Run a job and return its result and its duration in seconds."""
        started = time.perf_counter()
        result: dict[str, Any] = await (await start(self.client, job, options)).result()
        return result, time.perf_counter() - started


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


async def waiting(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size, customers=size, days=1, lines=1, status="not_fulfilled")
    await start_order(bench.client, "none")  # the worker has loaded everything
    idle_before, memory = await bench.idle_cpu(), Memory(bench.worker)
    async with memory:
        await each_of(size, lambda order_id: start_order(bench.client, order_id))
        await bench.until("SELECT count(*) FROM step_waits WHERE kind IS NULL", size)
    idle = await bench.idle_cpu()
    print(f"{size:,} orders wait: {memory}")
    print(f"CPU of all processes while nothing happens: {idle_before:.1f} % before, {idle:.1f} % with them", flush=True)
    await bench.restart()
    approval = Answer(answer="success")

    async def approve(order_id: str) -> None:
        process_id = order_process_id(order_id)
        await answer(bench.client, bench.database, process_id, "review-order", approval, by="bench")

    started = time.perf_counter()
    await each_of(size, approve)
    answered = time.perf_counter() - started
    await bench.until("SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'", size)
    seconds = time.perf_counter() - started
    print(f"{size:,} approved in {answered:.0f} s and fulfilled in {seconds:.0f} s after everything was restarted")
    return memory.peak <= MAX_WAITING_MIB and answered <= MAX_ANSWER_SECONDS


async def outage(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size, customers=size, days=1, lines=1, status="not_fulfilled")
    async with httpx.AsyncClient(base_url=bench.carrier_url, timeout=60) as http:
        fault = {"operation": "create", "fault": "500", "times": None}
        (await http.post("/trial/faults", json=fault)).raise_for_status()
        await each_of(size, lambda order_id: start_order(bench.client, order_id))
        await bench.until("SELECT count(*) FROM fulfillments", size)
        for _ in range(OUTAGE_MINUTES):
            print(f"CPU of all processes while {size:,} orders wait: {await bench.idle_cpu():.1f} %", flush=True)
            await asyncio.sleep(60 - SETTLE - IDLE)
        (await http.delete("/trial/faults")).raise_for_status()
    started = time.perf_counter()
    await bench.until("SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'", size)
    print(f"all fulfilled {time.perf_counter() - started:.0f} s after the outage")
    return True


async def each_of(size: int, act: Callable[[str], Awaitable[object]]) -> None:
    """Do something for each order, some at once."""
    ids = iter(range(1, size + 1))

    async def some() -> None:
        for number in ids:
            await act(f"O{number}")

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


class Memory:
    """The resident memory of a process before, during (peak) and after a block, in MiB."""

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self.before = self.peak = self.after = 0.0

    @property
    def growth(self) -> float:
        """The difference between peak and start."""
        return self.peak - self.before

    async def __aenter__(self) -> None:
        self.before = self.peak = self._resident()
        self._watching = asyncio.create_task(self._watch())

    async def __aexit__(self, *_: object) -> None:
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        self.after = self._resident()

    def __str__(self) -> str:
        return f"worker memory: {self.before:.0f} MiB before, {self.peak:.0f} peak, {self.after:.0f} after"

    def _resident(self) -> float:
        resident: int = self._process.memory_info().rss
        return resident / MIB

    async def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, self._resident())
            await asyncio.sleep(0.2)


async def longest_history(client: Client, job: str) -> int:
    """Return the number of events in the longest history of a job's runs."""
    await asyncio.sleep(2)  # listings lag behind
    runs = [run async for run in client.list_workflows(f"WorkflowId = '{job}'")]
    handles = [client.get_workflow_handle(run.id, run_id=run.run_id) for run in runs]
    return max([(await handle.describe()).history_length for handle in handles])


PARTS: dict[str, tuple[Callable[[Bench, int], Awaitable[bool]], int]] = {
    "sync": (sync, SKUS),
    "pending": (pending, ORDERS),
    "analytics": (collect_day, DAY_ORDERS),
    "waiting": (waiting, WAITING_ORDERS),
    "outage": (outage, WAITING_ORDERS),
}


async def measure(part: str, size: int | None) -> bool:
    run_part, default_size = PARTS[part]
    os.environ["COMMERCE_REVIEW_ABOVE"] = "GBP=1" if part == "waiting" else ""
    with tempfile.TemporaryDirectory(prefix="jobs-") as folder:
        async with Bench(Path(folder)) as bench:
            print(f"load {psutil.getloadavg()[0]:.1f}", flush=True)
            ok = await run_part(bench, size or default_size)
            print(f"load {psutil.getloadavg()[0]:.1f}, {'within' if ok else 'BEYOND'} the target")
    return ok


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    within_target = asyncio.run(measure(arguments.part, arguments.size))
    sys.stdout.flush()
    exit_process(0 if within_target else 1)
