"""An engine that `benchmarks/compare.py` measures: it sends orders to it, and reads what they cost."""

import asyncio
import json
import re
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import psutil
from sqlalchemy import make_url
from temporalio.client import Client

from benchmarks.report import Figures, Statements
from starter.devstack import postgres

VARIANTS = 200  # that a shop sells
PATIENCE = 300  # seconds for one answer of an engine
SETTLE = 0.5  # seconds in which the servers finish what an order has left them to do
COUNTED_ORDERS = 20  # whose statements are counted, in a round of its own: logging them takes time
STATEMENT = re.compile(r"LOG:  (?:statement|execute [^:]+): *(.*)")
SEED_ORDERS = """
    INSERT INTO orders (id, email, payment_status, currency, total, shipping_method, shipping_country, created_at,
                        content_hash)
    SELECT id, 'ann@customer.example', 'captured', 'GBP', 500, 'Standard', 'GB', '2026-03-02', ''
    FROM unnest($1::text[]) AS id
"""
SEED_LINES = """
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
    SELECT id, line, sku, sku, 'A mug', 1, 250
    FROM unnest($1::text[]) WITH ORDINALITY AS orders (id, number), generate_series(1, $2::int) AS line,
         LATERAL (SELECT 'SKU-' || (number * 7 + line) % $3::int) AS chosen (sku)
"""
# A no-op instead of the mail leaves it queued. The worker would send it after a minute, while others are measured.
MAILS_SENT = "UPDATE notifications SET status = 'sent' WHERE status = 'queued'"
WAL_BYTES = "SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint"


@dataclass
class Engine:
    """A program that processes orders, the processes it consists of, and the database of its orders."""

    name: str
    prefix: str  # of the ids of its orders
    program: asyncio.subprocess.Process
    processes: Mapping[str, int]
    database: str
    stack: Path  # the data folder of its PostgreSQL server
    runs: Client | None = None  # to read the number of history events
    lines: int = 2  # of each order
    variants: int = VARIANTS
    figures: dict[int, list[Figures]] = field(default_factory=lambda: defaultdict(list))

    async def run(self, number: int, at_once: int, orders: int) -> None:
        """Process orders, `at_once` in flight, and keep the figures."""
        ids = [f"{self.prefix}-{number}-{at_once}-{n}" for n in range(orders)]
        connection = await asyncpg.connect(self.database)
        await self._add_orders(connection, ids)
        wal, cpu = await connection.fetchval(WAL_BYTES), self.cpu()
        answer = await request(self.program, {"orders": ids, "at_once": at_once})
        await asyncio.sleep(SETTLE)
        after = self.cpu()
        wal = await connection.fetchval(WAL_BYTES) - wal
        await connection.execute(MAILS_SENT)
        await connection.close()
        events = 0
        if self.runs:
            handle = self.runs.get_workflow_handle(f"order-processing-{ids[-1]}")
            events = (await handle.describe()).history_length
        self.figures[at_once].append(
            Figures(
                cpu={name: (after[name] - cpu[name]) * 1000 / len(ids) for name in cpu},
                rate=len(ids) / answer["duration"],
                milliseconds=median(answer["seconds"]) * 1000,
                wal_kilobytes=wal / len(ids) / 1000,
                events=events,
            )
        )

    async def count_statements(self) -> Statements:
        """Count the statements of a few orders in the server's log, which leaves out empty ones."""
        ids = [f"{self.prefix}-counted-{n}" for n in range(COUNTED_ORDERS)]
        connection = await asyncpg.connect(self.database)
        await self._add_orders(connection, ids)
        await connection.close()
        log = self.stack / "logs/postgres.log"
        async with logged_statements(await superuser_url(self.stack, self.database)):
            start = log.stat().st_size
            await request(self.program, {"orders": ids, "at_once": COUNTED_ORDERS})
            await asyncio.sleep(SETTLE)
            with log.open(errors="replace") as lines:
                lines.seek(start)
                found = [match[1] for match in map(STATEMENT.search, lines) if match]
        begins, ends = (
            sum(statement.startswith(words) for statement in found)
            for words in (("BEGIN", "START"), ("COMMIT", "ROLLBACK"))
        )
        return Statements(begins / len(ids), (len(found) - begins - ends) / len(ids))

    async def _add_orders(self, connection: asyncpg.Connection, ids: Sequence[str]) -> None:
        if not self.prefix.startswith("floor"):
            await connection.execute(SEED_ORDERS, ids)
            await connection.execute(SEED_LINES, ids, self.lines, self.variants)

    def cpu(self) -> dict[str, float]:
        """Return the CPU seconds that each of its processes has used so far."""
        return {name: _cpu_seconds(pid) for name, pid in ({"client": self.program.pid} | dict(self.processes)).items()}


def _cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process; of PostgreSQL, with all of its processes, also those that have ended."""
    process = psutil.Process(pid)
    used = process.cpu_times()
    total = used.user + used.system
    if process.name() != "postgres":
        return total
    total += used.children_user + used.children_system
    for child in process.children():
        with suppress(psutil.NoSuchProcess):
            total += sum(child.cpu_times()[:2])
    return total


async def superuser_url(stack: Path, database: str) -> str:
    """Return the URL of the superuser of a database's server. An earlier version has one role for everything."""
    connection = await asyncpg.connect(database)
    is_superuser = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
    await connection.close()
    return database if is_superuser else postgres.superuser_url(stack, make_url(database).port or 0)


@asynccontextmanager
async def logged_statements(superuser: str) -> AsyncIterator[None]:
    """Let a PostgreSQL server log all statements during the block."""
    connection = await asyncpg.connect(superuser)

    async def change(command: str) -> None:
        await connection.execute(f"ALTER SYSTEM {command}")
        await connection.execute("SELECT pg_reload_conf()")
        await asyncio.sleep(SETTLE)  # each connection reads it before its next statement

    try:
        await change("SET log_statement = 'all'")
        yield
    finally:
        await change("RESET log_statement")
        await connection.close()


async def request(program: asyncio.subprocess.Process, question: Any = None) -> Any:
    """Send a JSON line to a program, if there is one, and return the line that it answers."""
    assert program.stdin is not None
    assert program.stdout is not None
    if question is not None:
        program.stdin.write(json.dumps(question).encode() + b"\n")
        await program.stdin.drain()
    line = await asyncio.wait_for(program.stdout.readline(), PATIENCE)
    if not line:
        raise RuntimeError(f"an engine has ended with code {await program.wait()}; see its log")
    return json.loads(line)
