"""Compare an order's cost with other engines and with an earlier version: `python benchmarks/compare.py [--help]`.

All engines run on this machine at the same time and take turns, one round after the other; the report has medians over
the rounds. CPU time is the sum of the engine's processes, so that it depends less on what else the machine does. Each
order has two lines. `make bench` prepares the environment of the other engines; without it, they are left out.
"""

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psutil
from sqlalchemy import make_url
from temporalio.client import Client

from benchmarks.measuring import VARIANTS, Engine, request, superuser_url
from benchmarks.report import render
from starter.devstack import postgres
from starter.devstack.ports import Ports
from starter.devstack.servers import CODE
from starter.telemetry.exit import exit_process

AT_ONCE = {1: 25, 20: 100, 100: 200}  # orders in flight: orders per round
STOP = 10  # seconds to end by itself; a worker needs a signal
PEERS = Path(".bench")  # see the Makefile
SEED = """
    INSERT INTO locations (id, name, priority) VALUES ('main', 'main', 0);
    INSERT INTO inventory_items (id, sku) SELECT 'SKU-' || n, 'SKU-' || n FROM generate_series(0, {last}) AS n;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
    SELECT id, 'main', 1000000 FROM inventory_items;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
    SELECT id, 'main', 1000000, 'import', 'seed' FROM inventory_items;
    INSERT INTO products (id, title) SELECT id, id FROM inventory_items;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM inventory_items;
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id) SELECT id, id FROM inventory_items;
"""


class Programs:
    """Starts Python programs of a checkout, and ends them with the block."""

    def __init__(self, exits: AsyncExitStack, folder: Path) -> None:
        self._exits, self._folder, self._started = exits, folder, 0

    async def start(
        self, module: str, *arguments: str, python: Path | None = None, code: Path = CODE, **variables: str
    ) -> asyncio.subprocess.Process:
        """Start a program of `benchmarks/engines`; all but a worker answer on standard output."""
        command = (f"benchmarks.engines.{module}", *arguments)
        return await self.run(module, *command, answers=arguments[0] != "worker", python=python, code=code, **variables)

    async def run(
        self,
        name: str,
        *arguments: str,
        answers: bool = False,
        python: Path | None = None,
        code: Path = CODE,
        **variables: str,
    ) -> asyncio.subprocess.Process:
        """Start a module with its arguments; its log, with what it prints unless it `answers`, has this name.

        Without `python`, it runs in the checkout's own environment.
        """
        self._started += 1
        log = self._exits.enter_context((self._folder / f"{self._started}-{name}.log").open("w"))
        path = os.pathsep.join((str(code), str(CODE)))  # `benchmarks` is this one in any case
        program = await asyncio.create_subprocess_exec(
            *(python or code / ".venv/bin/python", "-P", "-m", *arguments),
            env=os.environ | variables | {"PYTHONPATH": path},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE if answers else log,
            stderr=log,
            limit=2**24,
            cwd=self._folder,
        )
        self._exits.push_async_callback(_end, program)
        return program


@dataclass(frozen=True)
class Servers:
    """The servers of a shop: the content of their `stack.json`, and their process ids by name."""

    folder: Path
    description: Mapping[str, Any]
    processes: Mapping[str, int]
    stand_ins: Mapping[str, int]  # for carrier and mail server

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a program that uses these servers. A worker gets a port of its own for its metrics."""
        own = {"COMMERCE_METRICS_ADDRESS": f"127.0.0.1:{free_port(self.folder)}"}
        return dict(self.description["environment"]) | own


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


async def start_servers(programs: Programs, folder: Path, code: Path = CODE, variants: int = VARIANTS) -> Servers:
    """Start all servers of a checkout, and sell this many variants."""
    stack = await programs.start("shop", "stack", str(folder), code=code)
    description = await request(stack)
    await seed(description["database_url"], variants)
    stand_ins = {
        name: child.pid
        for child in psutil.Process(stack.pid).children()
        for name in ("carrier", "mail")
        if f"starter.devstack.{name}" in " ".join(child.cmdline())
    }
    processes = {"temporal": description["temporal_pid"], "postgres": description["postgres_pid"]}
    return Servers(folder, description, processes, stand_ins)


async def start_shop(programs: Programs, folder: Path, code: Path, suffix: str, prefix: str) -> list[Engine]:
    """Start all servers and the worker of a checkout; return the shop as it is, and with no-op label and mail."""
    servers = await start_servers(programs, folder, code)
    environment, url = servers.environment, servers.description["database_url"]
    worker = await programs.start("shop", "worker", code=code, **environment)
    client = await programs.start("shop", "client", str(worker.pid), code=code, **environment)
    processes = (await request(client))["processes"] | servers.processes
    runs = await Client.connect(servers.description["temporal_address"])
    real = processes | servers.stand_ins
    return [
        Engine(f"shop, label and mail real{suffix}", prefix, client, real, url, folder, runs),
        Engine(f"shop{suffix}", f"noop{prefix}", client, processes, url, folder, runs),
    ]


async def start_floor(programs: Programs, shop: Engine) -> list[Engine]:
    """Start a worker for workflows with no-op steps at the shop's Temporal server."""
    assert shop.runs is not None
    address = shop.runs.service_client.config.target_host
    worker = await programs.start("floor", "worker", address)
    client = await programs.start("floor", "client", address, str(worker.pid))
    processes = (await request(client))["processes"] | {"temporal": shop.processes["temporal"]}
    shapes = {"no steps": "floor", "7 regular no-op steps": "floor-remote7", "7 local no-op steps": "floor-local7"}
    shapes["4 local, 1 regular and 2 local no-op steps"] = "floor-local4-remote1-local2"
    return [
        Engine(f"Temporal, {name}", prefix, client, processes, shop.database, shop.stack)
        for name, prefix in shapes.items()
    ]


async def start_peers(
    programs: Programs, folder: Path, shop: Engine, code: Path, suffix: str, prefix: str
) -> list[Engine]:
    """Start the engines that call the functions of a checkout on their own database in the shop's PostgreSQL."""
    functions_url, owner_url = await create_database(shop, f"functions{prefix}")
    _, dbos_url = await create_database(shop, f"dbos{prefix}")  # DBOS creates its own tables
    owner = {} if owner_url == functions_url else {"COMMERCE_MIGRATION_DATABASE_URL": owner_url}
    migration = {"COMMERCE_DATABASE_URL": functions_url} | owner
    if await (await programs.run("migrate", "starter", "migrate", code=code, **migration)).wait() != 0:
        raise RuntimeError("the database of the other engines could not be migrated; see its log")
    await seed(functions_url)
    servers_used = {"postgres": shop.processes["postgres"]}
    started = {"functions alone": await programs.start("functions", functions_url, code=code)}
    python = PEERS.resolve() / "venv/bin/python"
    servers = sorted(PEERS.resolve().glob("node/node_modules/@restatedev/restate-server-*/bin/restate-server"))
    fits = python.exists() and await can_import(programs, python, code)
    if python.exists() and not fits:
        print(f"DBOS and Restate{suffix} are left out: their environment lacks packages of that version")
    if fits:
        started["DBOS"] = await programs.start("dbos_engine", functions_url, dbos_url, python=python, code=code)
    if fits and servers:
        ports = [str(free_port(folder, f"restate-{n}")) for n in range(4)]
        state = folder / "restate"
        state.mkdir()
        arguments = (functions_url, str(servers[0]), str(state), *ports)
        started["Restate"] = await programs.start("restate_engine", *arguments, python=python, code=code)
    return [
        Engine(
            f"{name}{suffix}",
            name[:4].lower() + prefix,
            program,
            (await request(program))["processes"] | servers_used,
            functions_url,
            shop.stack,
        )
        for name, program in started.items()
    ]


async def can_import(programs: Programs, python: Path, code: Path) -> bool:
    """Return whether an environment has the packages that the shop's functions of a checkout import."""
    program = await programs.run("steps", "benchmarks.engines.steps", python=python, code=code)
    return await program.wait() == 0


def free_port(folder: Path, name: str = "metrics") -> int:
    return Ports(folder / "bench-ports.json", lambda _: None).choose(name, name, 0)


async def create_database(shop: Engine, name: str) -> tuple[str, str]:
    """Create a database on a shop's server; return its URLs for the application and for the owner."""
    superuser = await superuser_url(shop.stack, shop.database)
    only_role = superuser == shop.database  # in an earlier version
    connection = await asyncpg.connect(superuser)
    await connection.execute(f'CREATE DATABASE "{name}"' + ("" if only_role else f" OWNER {postgres.MIGRATOR}"))
    await connection.close()
    if only_role:
        url = make_url(superuser).set(database=name).render_as_string(hide_password=False)
        return url, url
    port = make_url(superuser).port or 0
    application, owner = (
        postgres.url(shop.stack, port, name, role=role) for role in (postgres.APPLICATION, postgres.MIGRATOR)
    )
    return application, owner


async def seed(url: str, variants: int = VARIANTS) -> None:
    """Let an empty shop sell this many variants."""
    connection = await asyncpg.connect(url)
    await connection.execute(SEED.format(last=variants - 1))
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
            engines += shop
            if any(is_wanted(options, name + suffix) for name in ("functions alone", "DBOS", "Restate")):
                engines += await start_peers(programs, place, shop[0], code, suffix, f"b{prefix}")
            if not suffix and is_wanted(options, "Temporal"):
                engines += await start_floor(programs, shop[0])
        yield [engine for engine in engines if is_wanted(options, engine.name)]


def is_wanted(options: argparse.Namespace, name: str) -> bool:
    return not options.only or any(text in name for text in options.only)


async def main(options: argparse.Namespace) -> None:
    if not (PEERS / "venv").exists():
        print("DBOS and Restate are left out: their environment is missing (`make bench` creates it)")
    async with running_engines(options) as engines:
        for number in range(options.rounds + 1):  # the first one warms up
            for at_once in options.at_once:
                for engine in engines:
                    await engine.run(number, at_once, max(at_once, int(AT_ONCE[at_once] * options.scale)))
                    if number == 0:
                        engine.figures.clear()
                    else:
                        print(number, at_once, engine.name, engine.figures[at_once][-1].short(), flush=True)
        statements = {engine.name: await engine.count_statements() for engine in engines}
        report = render({engine.name: engine.figures for engine in engines}, statements)
        print(report)
        if options.output:
            options.output.write_text(report)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--at-once", type=int, nargs="+", choices=AT_ONCE, default=list(AT_ONCE))
    parser.add_argument("--scale", type=float, default=1, help="multiplies the number of orders per round")
    parser.add_argument("--before", type=Path, help="checkout of an earlier version, with its .venv")
    parser.add_argument("--only", nargs="+", help="only engines whose name contains one of these texts")
    parser.add_argument("--output", type=Path, help="the Markdown file to write")
    return parser.parse_args()


if __name__ == "__main__":
    asyncio.run(main(parse()))
    exit_process(0)
