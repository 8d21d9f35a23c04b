"""Measure the reckoning of stock on an embedded PostgreSQL: `python benchmarks/stock.py pending|lines|kits [--size N]`.

- pending: N refused orders (default 500) in a shop with 20,000 sales since: a page of the job `process-pending-orders`,
  and the query of the gauges. Target: 100 ms each.
- lines, kits: one order of N lines (default 10,000 plain ones, or 5,000 kits of six items) is checked, reserved,
  fulfilled, cancelled and released. Target: a second for the check, ten for any other step; most of that is spent on
  the foreign keys of the rows that a step writes.

Each is measured on new tables without statistics, and again with statistics.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import asyncpg
import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import backlog, fulfillment, inventory, open_orders
from commerce.database import Database
from commerce.messages.pending_orders import PendingPageRequest
from starter.api.metrics import free_port
from starter.devstack import postgres

SALES, REPEATS, PAGE, KIT_ITEMS = 20_000, 9, 200, 6
MAX_PAGE_SECONDS, MAX_CHECK_SECONDS, MAX_STEP_SECONDS = 0.1, 1.0, 10.0

GOODS = """
    INSERT INTO locations (id, name, priority) SELECT 'L' || n, 'L' || n, n FROM generate_series(1, 3) AS n;
    INSERT INTO products (id, title) SELECT 'P' || n, 'Mug' FROM generate_series(1, :size) AS n;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM products;
    INSERT INTO inventory_items (id, sku) SELECT id, id FROM products;
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id)
        SELECT DISTINCT 'P' || n, 'P' || 1 + (n + part * 7919 - 1) % :size
        FROM generate_series(1, :size) AS n, generate_series(0, :items - 1) AS part;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
        SELECT inventory_items.id, locations.id, 100 FROM inventory_items, locations
"""
ORDER = """
    INSERT INTO orders (id, payment_status, currency, total, created_at, content_hash)
        VALUES ('big', 'captured', 'GBP', 0, now(), '');
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT 'big', n, 'P' || n, '', '', 2, 0 FROM generate_series(1, :size) AS n
"""
REFUSED_ORDERS = """
    INSERT INTO orders (id, payment_status, fulfillment_status, currency, total, created_at, content_hash,
                        refused_at, waits_for_backorders)
        SELECT 'refused-' || n, 'captured', 'not_fulfilled', 'GBP', 0, now(), '', now(), false
        FROM generate_series(1, :refused) AS n
        UNION ALL SELECT 'sold-' || n, 'captured', 'fulfilled', 'GBP', 0, now(), '', NULL, NULL
        FROM generate_series(1, :sales) AS n;
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT id, line, 'P' || 1 + abs(hashtext(id || line)) % :size, '', '', 301, 0
        FROM orders, generate_series(1, 3) AS line;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
        SELECT variant_id, 'L1', 1, 'cancel', order_id FROM order_lines
"""


async def pending(database: Database, size: int) -> bool:
    await execute(database, GOODS, size=SALES, items=1)
    await execute(database, REFUSED_ORDERS, refused=size, sales=SALES, size=SALES)

    async def list_page(tx: AsyncSession) -> None:
        assert (await open_orders.list_pending(tx, PendingPageRequest(limit=PAGE))).order_ids == []

    ok = True
    for statistics in ("without statistics", "with statistics"):
        if statistics == "with statistics":
            await execute(database, "ANALYZE")
        for name, query in (("page", list_page), ("gauges", backlog.measure)):
            seconds = median([(await timed(database, query))[1] for _ in range(REPEATS)])
            print(f"{size} refused orders, {SALES:,} sales, {statistics}: {name} {seconds * 1000:.0f} ms")
            ok = ok and seconds <= MAX_PAGE_SECONDS
    return ok


async def lines(database: Database, size: int, items: int = 1) -> bool:
    await execute(database, GOODS, size=size, items=items)
    await execute(database, ORDER, size=size)
    ok = True
    for statistics in ("without statistics", "with statistics"):
        if statistics == "with statistics":
            await execute(database, "ANALYZE")
        _, checked = await timed(database, inventory.check, "big")
        _, reserved = await timed(database, inventory.reserve, "big")
        created, fulfilled = await timed(database, fulfillment.create, "big")
        _, cancelled = await timed(database, fulfillment.cancel, created, "big")
        _, released = await timed(database, inventory.release, "big")
        print(
            f"{size:,} lines, {items} items each, {statistics}: check {checked:.2f} s, reserve {reserved:.2f} s, "
            f"fulfill {fulfilled:.2f} s, cancel {cancelled:.2f} s, release {released:.2f} s"
        )
        slowest = max(reserved, fulfilled, cancelled, released)
        ok = ok and checked <= MAX_CHECK_SECONDS and slowest <= MAX_STEP_SECONDS
    return ok


async def kits(database: Database, size: int) -> bool:
    return await lines(database, size, KIT_ITEMS)


async def execute(database: Database, statements: str, **values: int) -> None:
    async with database.transaction() as tx:
        for statement in statements.split(";"):
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            await tx.execute(text(statement), named)


async def timed(database: Database, step: Callable[..., Awaitable[object]], *arguments: object) -> tuple[object, float]:
    """Call a function in a transaction of its own; return its result and the seconds until the commit."""
    started = time.perf_counter()
    async with database.transaction() as tx:
        result = await step(tx, *arguments)
    return result, time.perf_counter() - started


@asynccontextmanager
async def embedded_database() -> AsyncIterator[Database]:
    """Run PostgreSQL in a temporary folder, and yield a new, migrated database."""
    with tempfile.TemporaryDirectory(prefix="stock-") as name:
        folder, port = Path(name), free_port()
        postgres.prepare(folder)
        log = folder / "postgres.log"
        with log.open("w") as out:
            server = subprocess.Popen(postgres.command(folder, port, "autovacuum=off"), stdout=out, stderr=out)  # noqa: ASYNC220 - starts at once
        while "ready to accept connections" not in log.read_text():
            assert server.poll() is None, log.read_text()
            await asyncio.sleep(0.1)
        connection = await asyncpg.connect(postgres.superuser_url(folder, port))
        await connection.execute(f"CREATE DATABASE {postgres.DATABASE}")
        await connection.close()
        database = Database(postgres.superuser_url(folder, port, postgres.DATABASE))
        await database.migrate()
        yield database
        await database.close()
        server.send_signal(2)
        server.wait(timeout=60)


PARTS: dict[str, tuple[Callable[[Database, int], Awaitable[bool]], int]] = {
    "pending": (pending, 500),
    "lines": (lines, 10_000),
    "kits": (kits, 5_000),
}


async def main(part: str, size: int | None) -> bool:
    measure, default_size = PARTS[part]
    async with embedded_database() as database:
        print(f"load {psutil.getloadavg()[0]:.1f}", flush=True)
        ok = await measure(database, size or default_size)
        print(f"load {psutil.getloadavg()[0]:.1f}, {'within' if ok else 'BEYOND'} the target")
    return ok


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--size", type=int)
    options = parser.parse_args()
    sys.exit(0 if asyncio.run(main(options.part, options.size)) else 1)
