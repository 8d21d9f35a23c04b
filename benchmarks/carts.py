"""Compare the clean-up of carts with a plain batched DELETE: `python benchmarks/carts.py [--batch N …]`.

Starts PostgreSQL in a temporary folder, with two equal databases: two million carts of one to three lines, half of
them expired. `carts.expire`, which also writes events, and the plain DELETE take turns, batch by batch.
"""

import argparse
import asyncio
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import carts
from commerce.database import Database
from commerce.messages.carts import CartCursor, ExpiryRequest
from starter.devstack import postgres

MAX_RATIO = 3
CARTS = 2_000_000
BEFORE = datetime(2026, 3, 2, tzinfo=UTC)
SEEDED, EXPIRE, PLAIN = "seeded", "expire", "plain"

# Of every four carts, two have expired, one is completed and one is fresh.
SEED = """
    INSERT INTO carts (id, email, currency, created_at, updated_at, completed_at)
    SELECT 'C' || n, 'customer-' || n % 100000 || '@shop.example', 'GBP', touched - interval '1 hour', touched,
           CASE WHEN n % 4 = 2 THEN touched END
    FROM generate_series(1, $1::int) AS n,
         LATERAL (SELECT $2::timestamptz + CASE WHEN n % 4 = 3 THEN 1 ELSE n - $1 - 1 END * interval '2 seconds')
             AS moment (touched)
"""
SEED_LINES = """
    INSERT INTO cart_lines (cart_id, sku, quantity, unit_price, updated_at)
    SELECT id, 'SKU-' || line, line, 250, updated_at
    FROM carts, generate_series(1, 1 + abs(hashtext(id)) % 3) AS line
"""
DELETE = text("""
    WITH deleted AS (
        DELETE FROM carts WHERE id = ANY(ARRAY(
            SELECT id FROM carts
            WHERE completed_at IS NULL AND updated_at < :before AND (updated_at, id) > (:updated_at, :id)
            ORDER BY updated_at, id LIMIT :limit))
        RETURNING id, created_at, updated_at
    )
    SELECT * FROM deleted
""")

Batch = Callable[[AsyncSession], Awaitable[int]]


@contextmanager
def running_postgres() -> Iterator[tuple[Path, int]]:
    with tempfile.TemporaryDirectory(prefix="carts-") as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        postgres.prepare(folder)
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(postgres.command(folder, port), stdout=log, stderr=log)
        try:
            yield folder, port
        finally:
            server.send_signal(2)
            server.wait(timeout=60)
            shutil.rmtree(folder / "postgres")


async def connect_when_ready(url: str) -> asyncpg.Connection:
    deadline = time.monotonic() + 30
    while True:
        try:
            return await asyncpg.connect(url)
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)


async def run_sql(url: str, *statements: str) -> None:
    connection = await connect_when_ready(url)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def seed(url: str, number: int) -> None:
    database = Database(url)
    await database.migrate()
    await database.close()
    connection = await connect_when_ready(url)
    await connection.execute(SEED, number, BEFORE)
    await connection.execute(SEED_LINES)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def expire_batches(limit: int) -> Batch:
    cursor: CartCursor | None = None

    async def batch(tx: AsyncSession) -> int:
        nonlocal cursor
        result = await carts.expire(tx, ExpiryRequest(before=BEFORE, after=cursor, limit=limit))
        cursor = result.next
        return result.changed

    return batch


def plain_batches(limit: int) -> Batch:
    cursor = {"updated_at": datetime.min.replace(tzinfo=UTC), "id": ""}

    async def batch(tx: AsyncSession) -> int:
        deleted = (await tx.execute(DELETE, {"before": BEFORE, "limit": limit, **cursor})).all()
        if deleted:
            last = max(deleted, key=lambda cart: (cart.updated_at, cart.id))
            cursor.update(updated_at=last.updated_at, id=last.id)
        return len(deleted)

    return batch


async def run_timed(database: Database, batch: Batch) -> tuple[int, float]:
    start = time.perf_counter()
    async with database.transaction() as tx:
        done = await batch(tx)
    return done, time.perf_counter() - start


async def race(urls: dict[str, str], limit: int) -> float:
    databases = {name: Database(urls[name]) for name in (EXPIRE, PLAIN)}
    batches = {EXPIRE: expire_batches(limit), PLAIN: plain_batches(limit)}
    seconds: dict[str, list[float]] = {name: [] for name in batches}
    deleted = dict.fromkeys(batches, 0)
    done = 1
    while done:
        for name, batch in batches.items():
            done, taken = await run_timed(databases[name], batch)
            deleted[name] += done
            seconds[name].append(taken)
    for name, database in databases.items():
        milliseconds = median(seconds[name]) * 1_000
        print(f"  {name:<9} {deleted[name]:>9,} carts  {sum(seconds[name]):7.1f} s  {milliseconds:7.1f} ms a batch")
        await database.close()
    ratio = median(seconds[EXPIRE]) / median(seconds[PLAIN])
    print(f"  ratio {ratio:.2f} of medians, {sum(seconds[EXPIRE]) / sum(seconds[PLAIN]):.2f} of sums")
    return ratio


async def measure(folder: Path, port: int, number: int, limits: list[int]) -> bool:
    urls = {name: postgres.superuser_url(folder, port, name) for name in ("postgres", SEEDED, EXPIRE, PLAIN)}
    await run_sql(urls["postgres"], f"CREATE DATABASE {SEEDED}")
    await seed(urls[SEEDED], number)
    ratios = []
    for limit in limits:
        for name in (EXPIRE, PLAIN):
            await run_sql(urls["postgres"], f"DROP DATABASE IF EXISTS {name}")
            await run_sql(urls["postgres"], f"CREATE DATABASE {name} TEMPLATE {SEEDED} STRATEGY file_copy")
        print(f"batches of {limit:,}", flush=True)
        ratios.append(await race(urls, limit))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB
    print(f"peak {peak:.0f} MiB")
    return max(ratios) <= MAX_RATIO


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--carts", type=int, default=CARTS)
    parser.add_argument("--batch", type=int, nargs="+", default=[1_000])
    args = parser.parse_args()
    with running_postgres() as (folder, port):
        ok = asyncio.run(measure(folder, port, args.carts, args.batch))
    print(f"{'within' if ok else 'BEYOND'} {MAX_RATIO} x")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
