"""Measure the cost of metrics and traces: `python benchmarks/observability.py DIR [ROUNDS] [ORDERS]`.

DIR is the data folder of `commerce up --no-worker --no-schedules`. Each round (default 9) processes new orders
(default 150) twice, each time with a new worker: one without metrics and traces, and one whose metrics are scraped
every few seconds and whose traces go to a server that discards them (one in ten, or COMMERCE_TRACES_SAMPLED). The two
alternate in going first. Prints the orders per second of each, their medians and the ratio.
"""

import asyncio
import os
import signal
import statistics
import sys
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
from sqlalchemy import text
from temporalio.client import Client

from commerce.database import Database
from commerce.settings import load_environment, load_settings
from starter.api.metrics import free_port
from starter.client import connect, process_order
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE
from starter.telemetry.exit import exit_process

ROUNDS, ORDERS = 9, 150
WARM_UP = 20  # orders at the start of each run that are not measured
AT_ONCE = 20
SCRAPE_SECONDS = 5.0
TARGET = 0.95  # of the throughput without metrics and traces
ROOT = Path(__file__).parents[1]
Mode = Mapping[str, str]  # environment variables of a worker

GOODS = """
    INSERT INTO locations (id, name) VALUES ('benchmark', 'benchmark');
    INSERT INTO products (id, title) VALUES ('benchmark', 'Mug');
    INSERT INTO variants (id, product_id, sku) VALUES ('benchmark', 'benchmark', 'benchmark');
    INSERT INTO inventory_items (id, sku) VALUES ('benchmark', 'benchmark');
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id) VALUES ('benchmark', 'benchmark');
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
        VALUES ('benchmark', 'benchmark', 1000000);
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
        VALUES ('benchmark', 'benchmark', 1000000, 'import', 'benchmark')
"""
NEW_ORDERS = text("""
    WITH made AS (
        INSERT INTO orders (id, email, payment_status, currency, total, created_at, content_hash, shipping_method,
                            shipping_name, shipping_address1, shipping_city, shipping_zip, shipping_country)
        SELECT id, 'ann@customer.example', 'captured', 'GBP', 250, now(), '', 'Standard', 'Ann', '1 Road', 'London',
               'N1 9GU', 'GB'
        FROM unnest(CAST(:ids AS text[])) AS id RETURNING id
    )
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
    SELECT id, 1, 'benchmark', 'benchmark', 'Mug', 1, 250 FROM made
""")


async def main(data_dir: Path, rounds: int, number: int) -> bool:
    environment = load_environment(data_dir)
    database = Database(load_settings(environment).database_url.get_secret_value())
    client = await connect(environment)
    if await is_worker_polling(client, TASK_QUEUE):
        sys.exit(
            "A worker is already polling: run `commerce up --no-worker`, and wait a minute after stopping a worker"
        )
    await create_goods(database)
    rates: dict[str, list[float]] = {"bare": [], "observed": []}
    async with discarding_server() as traces_url:
        address = f"127.0.0.1:{free_port()}"
        modes: dict[str, Mode] = {
            "bare": {"COMMERCE_METRICS_ADDRESS": "", "COMMERCE_TRACES_URL": ""},
            "observed": {"COMMERCE_METRICS_ADDRESS": address, "COMMERCE_TRACES_URL": traces_url},
        }
        for turn in range(rounds):
            for name in sorted(modes, reverse=bool(turn % 2)):
                async with running_worker({**environment, **modes[name]}, data_dir), scraping(modes[name]):
                    rates[name].append(await measure_rate(client, await create_orders(database, WARM_UP + number)))
                print(f"round {turn + 1}, {name}: {rates[name][-1]:.1f} orders/s", flush=True)
    await database.close()
    bare, observed = (statistics.median(rates[name]) for name in ("bare", "observed"))
    print(f"medians: bare {bare:.1f}, observed {observed:.1f} orders/s; ratio {observed / bare:.3f}, target {TARGET}")
    return observed / bare >= TARGET


async def create_goods(database: Database) -> None:
    async with database.transaction() as tx:
        if (await tx.execute(text("SELECT 1 FROM products WHERE id = 'benchmark'"))).one_or_none() is None:
            for statement in GOODS.split(";"):
                await tx.execute(text(statement))


async def create_orders(database: Database, number: int) -> list[str]:
    run = uuid4().hex[:8]
    ids = [f"{run}-{n}" for n in range(number)]
    async with database.transaction() as tx:
        await tx.execute(NEW_ORDERS, {"ids": ids})
    return ids


async def measure_rate(client: Client, order_ids: Sequence[str]) -> float:
    """Process orders and return the orders per second after the warm-up."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def process(order_id: str) -> None:
        async with slots:
            assert (await process_order(client, order_id)).status == "fulfilled"

    await asyncio.gather(*map(process, order_ids[:WARM_UP]))
    started = time.perf_counter()
    await asyncio.gather(*map(process, order_ids[WARM_UP:]))
    return (len(order_ids) - WARM_UP) / (time.perf_counter() - started)


@asynccontextmanager
async def running_worker(environment: Mapping[str, str], data_dir: Path) -> AsyncIterator[None]:
    """Run a worker in its own process."""
    log = data_dir / "logs" / "benchmark.log"
    with log.open("w") as out:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker"),
            env={**os.environ, **environment, "PYTHONPATH": str(ROOT), "COMMERCE_SCHEDULES": "off"},
            stdout=out,
            stderr=out,
        )
    try:
        while "worker started" not in log.read_text():
            assert process.returncode is None, log.read_text()
            await asyncio.sleep(0.05)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


@asynccontextmanager
async def scraping(mode: Mode) -> AsyncIterator[None]:
    """Scrape the metrics as Prometheus does, if the mode has any."""
    task = asyncio.create_task(_scrape(mode["COMMERCE_METRICS_ADDRESS"]))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _scrape(address: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        while address:
            (await http.get(f"http://{address}/metrics")).raise_for_status()
            await asyncio.sleep(SCRAPE_SECONDS)


@asynccontextmanager
async def discarding_server() -> AsyncIterator[str]:
    """Serve an endpoint that discards what is posted to it; yields the URL."""
    server = await asyncio.start_server(_discard, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/traces"


async def _discard(reader: StreamReader, writer: StreamWriter) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while head := (await reader.readuntil(b"\r\n\r\n")).lower():
            length = next(line for line in head.splitlines() if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    numbers = [int(argument) for argument in sys.argv[2:]]
    within_target = asyncio.run(main(Path(sys.argv[1]), *(numbers + [ROUNDS, ORDERS][len(numbers) :])))
    exit_process(0 if within_target else 1)
