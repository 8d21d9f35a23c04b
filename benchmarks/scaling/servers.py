"""Temporal's dev server next to its real server, with several numbers of history shards."""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median

from sqlalchemy import make_url

from benchmarks.compare import Programs, Servers, create_database, seed, start_servers
from benchmarks.measuring import Engine
from benchmarks.scaling.common import programs_in_folder, show, start_worker, table
from benchmarks.scaling.real_server import RealServer, real_server
from commerce.database import Database
from starter.devstack import postgres

IN_FLIGHT = {20: 1, 100: 2}  # and how many times the size is processed in a round
IDLE = 15  # seconds
PARTS = ("worker", "Temporal", "its PostgreSQL", "shop's PostgreSQL", "carrier, mail, client")


async def servers(options: argparse.Namespace) -> str:
    """Return the table for the dev server and for a real server per number of shards, and what an order's run has."""
    async with programs_in_folder() as (programs, folder, exits):
        shop = await start_servers(programs, folder / "shop")
        engines: list[tuple[Engine, RealServer | None]] = [
            (await start_worker(programs, shop, "dev server", "dev"), None)
        ]
        for shards in options.shards:
            show(f"start the real server with {shards} shards")
            server = await exits.enter_async_context(real_server(folder / f"real{shards}", options.installed, shards))
            engines.append((await start_at(programs, shop, server, shards), server))
        transactions: Mapping[str, list[float]] = defaultdict(list)
        for number in range(options.rounds + 1):  # the first one warms up
            for at_once, times in IN_FLIGHT.items():
                for engine, server_of in engines:
                    before = await server_of.use() if server_of else None
                    await engine.run(number, at_once, options.size * times)
                    show(f"round {number}, {at_once} in flight, {engine.name}: {engine.figures[at_once][-1].short()}")
                    if number == 0:
                        engine.figures[at_once].clear()
                    elif server_of and before:
                        made = (await server_of.use()).transactions - before.transactions
                        transactions[engine.name].append(made / (options.size * times))
        idle = await idle_cpu([engine for engine, _ in engines])
        rows = []
        for engine, server_of in engines:
            used = [str((await server_of.use()).connections)] if server_of else ["–"]
            made = [f"{median(transactions[engine.name]):.0f}"] if server_of else ["–"]
            rows.append([*costs(engine), *used, *made, f"{idle[engine.name]:.1f}"])
        history = await history_of(engines[0][0], f"dev-{options.rounds}-20-0")
    head = ["server", "orders/s at 20 / 100 in flight", "CPU ms per order at 20 / 100"]
    head += [f"{part}, at 20" for part in PARTS]
    head += ["connections of the server", "its transactions per order", "its CPU when idle, % of a core"]
    return f"{table(head, rows)}\n\nPer order: {history}."


async def start_at(programs: Programs, shop: Servers, server: RealServer, shards: int) -> Engine:
    """Start a worker and a client for a real server, with a database of their own in the shop's PostgreSQL server."""
    port = make_url(shop.description["database_url"]).port or 0
    urls = await create_database(shop.folder, port, f"commerce{shards}")
    database = Database(urls[postgres.APPLICATION])
    await database.migrate(urls[postgres.MIGRATOR])
    await database.close()
    await seed(urls[postgres.APPLICATION])
    own = {
        "TEMPORAL_ADDRESS": server.address,
        "COMMERCE_DATABASE_URL": urls[postgres.APPLICATION],
        "COMMERCE_MIGRATION_DATABASE_URL": urls[postgres.MIGRATOR],
        "COMMERCE_SCHEDULES": "off",
    }
    engine = await start_worker(programs, shop, f"real server, {shards} shards", f"real{shards}", own)
    engine.processes = dict(engine.processes) | server.processes
    return engine


async def idle_cpu(engines: Sequence[Engine]) -> dict[str, float]:
    """Return the percentage of a core that Temporal and its PostgreSQL use while nothing happens."""
    show(f"wait {2 * IDLE} s for the figures when idle")
    await asyncio.sleep(IDLE)

    def used(engine: Engine) -> float:
        return sum(seconds for name, seconds in engine.cpu().items() if name.startswith("temporal"))

    before = {engine.name: used(engine) for engine in engines}
    await asyncio.sleep(IDLE)
    return {engine.name: (used(engine) - before[engine.name]) / IDLE * 100 for engine in engines}


def costs(engine: Engine) -> list[str]:
    """Return name, rates and CPU times of an engine's rounds, at 20 in flight also by process."""
    figures = engine.figures
    rates = " / ".join(f"{median(one.rate for one in figures[at_once]):.1f}" for at_once in IN_FLIGHT)
    total = " / ".join(f"{median(one.total_cpu for one in figures[at_once]):.0f}" for at_once in IN_FLIGHT)

    def part(*names: str) -> str:
        values = [sum(one.cpu[name] for name in names if name in one.cpu) for one in figures[20]]
        return f"{median(values):.1f}" if any(values) else "–"

    groups = (["worker"], ["temporal"], ["temporal's postgres"], ["postgres"], ["carrier", "mail", "client"])
    return [engine.name, rates, total, *(part(*names) for names in groups)]


async def history_of(engine: Engine, order_id: str) -> str:
    """Return what Temporal keeps of an order, in words."""
    assert engine.runs is not None
    handle = engine.runs.get_workflow_handle(f"order-processing-{order_id}")
    transitions = (await handle.describe()).raw_description.workflow_execution_info.state_transition_count
    kinds = [event.WhichOneof("attributes") or "" for event in (await handle.fetch_history()).events]
    tasks = kinds.count("workflow_task_completed_event_attributes")
    regular, local = (
        kinds.count(f"{kind}_event_attributes") for kind in ("activity_task_scheduled", "marker_recorded")
    )
    return (
        f"{len(kinds)} history events, {tasks} workflow tasks, {regular} activity tasks, {local} markers (local steps "
        f"and patches), {transitions} state transitions"
    )
