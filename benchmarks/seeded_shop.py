"""An embedded shop for benchmarks: seeded with generated data, with the real worker, in a temporary folder."""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import psutil
from sqlalchemy import text
from temporalio.client import Client

from commerce.database import Database
from commerce.messages.base import Message
from commerce.settings import load_settings
from starter.client import connect, start
from starter.devstack.stack import Stack
from starter.telemetry.exit import exit_process

MIB = 1024 * 1024
SETTLE, IDLE, PATIENCE = 10, 30, 600  # seconds
PRODUCTS = 1_000
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

    @property
    def description(self) -> Mapping[str, Any]:
        """The content of `stack.json`."""
        return self._stack.description

    async def restart(self) -> None:
        """Stop all servers and start them again."""
        await self.__aexit__()
        await self.__aenter__()

    async def idle_cpu(self) -> float:
        """Return the percentage of a core that all servers use while nothing happens."""
        await asyncio.sleep(SETTLE)
        before = self.cpu_seconds()
        await asyncio.sleep(IDLE)
        return (self.cpu_seconds() - before) / IDLE * 100

    def cpu_seconds(self) -> float:
        """Return the CPU time that all servers have used so far."""
        return sum(sum(server.cpu_times()[:2]) for server in psutil.Process().children(recursive=True))

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


Part = Callable[[Bench, int], Awaitable[bool]]  # gets the size; returns whether the result is within the target


def measure(
    description: str | None,
    parts: Mapping[str, tuple[Part, int]],
    settings: Mapping[str, Mapping[str, str]] = MappingProxyType({}),
) -> None:
    """Measure the part that the command line names; `settings` are environment variables of the shop, by part."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("part", choices=parts)
    parser.add_argument("--size", type=int)
    arguments = parser.parse_args()
    os.environ.update(settings.get(arguments.part, {}))
    part, size = parts[arguments.part]
    within_target = asyncio.run(_measure(part, arguments.size or size))
    sys.stdout.flush()
    exit_process(0 if within_target else 1)


async def _measure(part: Part, size: int) -> bool:
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        async with Bench(Path(folder)) as bench:
            print(f"load {psutil.getloadavg()[0]:.1f}", flush=True)
            ok = await part(bench, size)
            print(f"load {psutil.getloadavg()[0]:.1f}, {'within' if ok else 'BEYOND'} the target")
    return ok
