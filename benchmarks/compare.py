"""Compare an order's cost with other engines and with an earlier version: `python benchmarks/compare.py [--help]`.

All engines run on this machine at the same time and take turns, one round after the other; the report has medians over
the rounds. CPU time is the sum of the engine's processes, so that it depends less on what else the machine does. Each
order has two lines. `make bench` prepares the environment of the other engines; without it, they are left out.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import asyncpg
import psutil
from temporalio.client import Client

from benchmarks.report import Figures, render
from commerce.database import Database
from starter.devstack.ports import Ports
from starter.devstack.servers import CODE
from starter.telemetry.exit import exit_process

AT_ONCE = {1: 25, 20: 100, 100: 200}  # orders in flight: orders per round
PATIENCE = 300  # seconds for one answer of an engine
STOP = 10  # seconds to end by itself; a worker needs a signal
SETTLE = 0.5  # seconds in which the servers finish what an order has left them to do
PEERS = Path(".bench")  # see the Makefile
SEED = """
    INSERT INTO locations (id, name, priority) VALUES ('main', 'main', 0);
    INSERT INTO inventory_items (id, sku) SELECT 'SKU-' || n, 'SKU-' || n FROM generate_series(0, 199) AS n;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
    SELECT id, 'main', 1000000 FROM inventory_items;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
    SELECT id, 'main', 1000000, 'import', 'seed' FROM inventory_items;
    INSERT INTO products (id, title) SELECT id, id FROM inventory_items;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM inventory_items;
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id) SELECT id, id FROM inventory_items;
"""
SEED_ORDERS = """
    INSERT INTO orders (id, email, payment_status, currency, total, shipping_method, shipping_country, created_at,
                        content_hash)
    SELECT id, 'ann@customer.example', 'captured', 'GBP', 500, 'Standard', 'GB', '2026-03-02', ''
    FROM unnest($1::text[]) AS id
"""
SEED_LINES = """
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
    SELECT id, line, 'SKU-' || (number * 7 + line) % 200, 'SKU-' || (number * 7 + line) % 200, 'A mug', 1, 250
    FROM unnest($1::text[]) WITH ORDINALITY AS orders (id, number), generate_series(1, 2) AS line
"""
COUNTERS = """
    SELECT sum(xact_commit + xact_rollback)::bigint AS transactions,
           (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::bigint AS wal_bytes FROM pg_stat_database
"""


@dataclass
class Engine:
    """A program that processes orders, the processes it consists of, and the database of its orders."""

    name: str
    prefix: str  # of the ids of its orders
    program: asyncio.subprocess.Process
    processes: Mapping[str, int]
    database: str
    runs: Client | None = None  # to read the number of history events
    figures: dict[int, list[Figures]] = field(default_factory=lambda: defaultdict(list))

    async def run(self, number: int, at_once: int, orders: int) -> None:
        """Process orders, `at_once` in flight, and keep the figures."""
        ids = [f"{self.prefix}-{number}-{at_once}-{n}" for n in range(orders)]
        connection = await asyncpg.connect(self.database)
        if self.prefix != "floor":
            await connection.execute(SEED_ORDERS, ids)
            await connection.execute(SEED_LINES, ids)
        counters, cpu = await connection.fetchrow(COUNTERS), self._cpu()
        answer = await request(self.program, {"orders": ids, "at_once": at_once})
        await asyncio.sleep(SETTLE)
        after = self._cpu()
        then = await connection.fetchrow(COUNTERS)
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
                transactions=(then["transactions"] - counters["transactions"]) / len(ids),
                wal_kilobytes=(then["wal_bytes"] - counters["wal_bytes"]) / len(ids) / 1000,
                events=events,
            )
        )

    def _cpu(self) -> dict[str, float]:
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


class Programs:
    """Starts Python programs of a checkout, and ends them with the block."""

    def __init__(self, exits: AsyncExitStack, folder: Path) -> None:
        self._exits, self._folder, self._started = exits, folder, 0

    async def start(
        self, module: str, *arguments: str, python: str = sys.executable, code: Path = CODE, **variables: str
    ) -> asyncio.subprocess.Process:
        self._started += 1
        log = self._exits.enter_context((self._folder / f"{self._started}-{module}.log").open("w"))
        path = os.pathsep.join((str(code), str(CODE)))  # `benchmarks` is this one in any case
        program = await asyncio.create_subprocess_exec(
            *(python, "-P", "-m", f"benchmarks.engines.{module}", *arguments),
            env=os.environ | variables | {"PYTHONPATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=log if arguments[0] == "worker" else asyncio.subprocess.PIPE,
            stderr=log,
            limit=2**24,
            cwd=self._folder,
        )
        self._exits.push_async_callback(_end, program)
        return program


async def _end(program: asyncio.subprocess.Process) -> None:
    """End a program by closing its standard input, and what it leaves running."""
    assert program.stdin is not None
    children = psutil.Process(program.pid).children(recursive=True) if program.returncode is None else []
    program.stdin.close()
    try:
        await asyncio.wait_for(program.wait(), STOP)
    except TimeoutError:
        program.terminate()
        await program.wait()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.terminate()


async def start_shop(programs: Programs, folder: Path, code: Path, suffix: str, prefix: str) -> list[Engine]:
    """Start all servers and the worker of a checkout; return the shop as it is, and with no-op label and mail."""
    stack = await programs.start("shop", "stack", str(folder), code=code)
    description = await request(stack)
    environment = description["environment"] | {"COMMERCE_METRICS_ADDRESS": f"127.0.0.1:{free_port(folder)}"}
    url = description["database_url"]
    await seed(url)
    worker = await programs.start("shop", "worker", code=code, **environment)
    client = await programs.start("shop", "client", str(worker.pid), code=code, **environment)
    servers = {"temporal": description["temporal_pid"], "postgres": description["postgres_pid"]}
    processes = (await request(client))["processes"] | servers
    stand_ins = {
        name: child.pid
        for child in psutil.Process(stack.pid).children()
        for name in ("carrier", "mail")
        if f"starter.devstack.{name}" in " ".join(child.cmdline())
    }
    runs = await Client.connect(description["temporal_address"])
    return [
        Engine(f"shop, label and mail real{suffix}", prefix, client, processes | stand_ins, url, runs),
        Engine(f"shop{suffix}", f"noop{prefix}", client, processes, url, runs),
    ]


async def start_floor(programs: Programs, shop: Engine) -> list[Engine]:
    """Start a worker for workflows with no-op steps at the shop's Temporal server."""
    assert shop.runs is not None
    address = shop.runs.service_client.config.target_host
    worker = await programs.start("floor", "worker", address)
    client = await programs.start("floor", "client", address, str(worker.pid))
    processes = (await request(client))["processes"] | {"temporal": shop.processes["temporal"]}
    shapes = {"no steps": "floor", "7 regular no-op steps": "floor-remote7", "7 local no-op steps": "floor-local7"}
    shapes["5 local and 2 regular no-op steps"] = "floor-local5-remote2"
    return [Engine(f"Temporal, {name}", prefix, client, processes, shop.database) for name, prefix in shapes.items()]


async def start_peers(
    programs: Programs, folder: Path, shop: Engine, code: Path, suffix: str, prefix: str
) -> list[Engine]:
    """Start the engines that call the functions of a checkout on their own database in the shop's PostgreSQL."""
    names = [f"functions{prefix}", f"dbos{prefix}"]
    functions_url, dbos_url = [await create_database(shop.database, name) for name in names]
    await seed(functions_url)
    postgres = {"postgres": shop.processes["postgres"]}
    started = {"functions alone": await programs.start("functions", functions_url, code=code)}
    python = PEERS.resolve() / "venv/bin/python"
    servers = sorted(PEERS.resolve().glob("node/node_modules/@restatedev/restate-server-*/bin/restate-server"))
    if python.exists():
        started["DBOS"] = await programs.start("dbos_engine", functions_url, dbos_url, python=str(python), code=code)
    if python.exists() and servers:
        ports = [str(free_port(folder, f"restate-{n}")) for n in range(4)]
        state = folder / "restate"
        state.mkdir()
        arguments = (functions_url, str(servers[0]), str(state), *ports)
        started["Restate"] = await programs.start("restate_engine", *arguments, python=str(python), code=code)
    return [
        Engine(f"{name}{suffix}", name[:4].lower() + prefix, program, (await request(program))["processes"] | postgres,
               functions_url)
        for name, program in started.items()
    ]  # fmt: skip


def free_port(folder: Path, name: str = "metrics") -> int:
    return Ports(folder / "bench-ports.json", lambda _: None).choose(name, name, 0)


async def create_database(neighbour: str, name: str) -> str:
    """Create a database on the same server and return its URL."""
    connection = await asyncpg.connect(neighbour)
    await connection.execute(f'CREATE DATABASE "{name}"')
    await connection.close()
    return neighbour.rpartition("/")[0] + f"/{name}"


async def seed(url: str) -> None:
    database = Database(url)
    await database.migrate()
    await database.close()
    connection = await asyncpg.connect(url)
    await connection.execute(SEED)
    await connection.close()


@asynccontextmanager
async def running_engines(options: argparse.Namespace) -> AsyncIterator[Sequence[Engine]]:
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="bench ", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        programs, engines = Programs(exits, folder), []
        checkouts = [("", CODE, "")] + ([(", before", options.before.resolve(), "old")] if options.before else [])
        for suffix, code, prefix in checkouts:
            place = folder / f"stack{prefix}"
            shop = await start_shop(programs, place, code, suffix, f"a{prefix}")
            engines += shop + await start_peers(programs, place, shop[0], code, suffix, f"b{prefix}")
            if not suffix:
                engines += await start_floor(programs, shop[0])
        yield engines


async def main(options: argparse.Namespace) -> None:
    if not (PEERS / "venv").exists():
        print("DBOS and Restate are left out: their environment is missing (`make bench` creates it)")
    async with running_engines(options) as engines:
        chosen = [engine for engine in engines if not options.only or any(name in engine.name for name in options.only)]
        for number in range(options.rounds + 1):  # the first one warms up
            for at_once in options.at_once:
                for engine in chosen:
                    await engine.run(number, at_once, max(at_once, int(AT_ONCE[at_once] * options.scale)))
                    if number == 0:
                        engine.figures.clear()
                    else:
                        print(number, at_once, engine.name, engine.figures[at_once][-1].short(), flush=True)
        report = render({engine.name: engine.figures for engine in chosen})
        print(report)
        if options.output:
            options.output.write_text(report)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", choices=AT_ONCE, default=list(AT_ONCE))
    parser.add_argument("--scale", type=float, default=1, help="multiplies the number of orders per round")
    parser.add_argument("--before", type=Path, help="the checkout of an earlier version, compared in the same run")
    parser.add_argument("--only", nargs="+", help="only engines whose name contains one of these texts")
    parser.add_argument("--output", type=Path, help="the Markdown file to write")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parse()))
    exit_process(0)
