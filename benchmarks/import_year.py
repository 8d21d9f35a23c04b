"""Measure time and memory of importing a year of orders: `python benchmarks/import_year.py [ORDERS INVENTORY]`.

Starts PostgreSQL in a temporary folder. Seconds are wall-clock time, CPU seconds those of this process alone.
`--orders-first` imports the inventory after the orders.
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
from pathlib import Path

import asyncpg

from commerce.database import Database
from commerce.imports import ImportReport, import_inventory, import_orders
from starter.devstack import postgres

MAX_SECONDS, MAX_MIB = 60, 300


@contextmanager
def running_postgres() -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="import-year-") as name, socket.socket() as probe:
        folder = Path(name)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        probe.close()
        postgres.prepare(folder)
        with (folder / "log").open("w") as log:
            server = subprocess.Popen(postgres.command(folder, port), stdout=log, stderr=log)
        try:
            yield postgres.superuser_url(folder, port, "postgres")
        finally:
            server.send_signal(2)
            server.wait(timeout=60)
            shutil.rmtree(folder / "postgres")


async def wait_until_ready(url: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            await (await asyncpg.connect(url)).close()
        except (OSError, asyncpg.CannotConnectNowError):
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.1)
        else:
            return


async def run_timed(name: str, run_import: Callable[[], Awaitable[ImportReport]]) -> float:
    start, cpu_start = time.perf_counter(), time.process_time()
    report = await run_import()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    counts = f"{report.read:>8,} read {report.taken:>7,} taken {report.unchanged:>7,} unchanged {report.bad_count} bad"
    sys.stdout.write(f"{name:<18} {seconds:6.1f} s  {cpu_seconds:5.2f} CPU s  {counts}  peak {peak_mib():.0f} MiB\n")
    return seconds


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts KiB


async def measure(url: str, orders: Path, inventory: Path, *, orders_first: bool) -> bool:
    await wait_until_ready(url)
    database = Database(url)
    await database.migrate()
    sys.stdout.write(f"{'before':<18} peak {peak_mib():.0f} MiB\n")
    imports: list[tuple[str, Callable[[], Awaitable[ImportReport]]]] = [
        ("inventory", lambda: import_inventory(database, [inventory])),
        ("orders", lambda: import_orders(database, [orders], currency="GBP")),
    ]
    if orders_first:
        imports.reverse()
    seconds = {name: await run_timed(name, run_import) for name, run_import in imports}
    for name, run_import in imports:
        await run_timed(f"{name} again", run_import)
    await database.close()
    return seconds["orders"] <= MAX_SECONDS and peak_mib() <= MAX_MIB


def main() -> int:
    data = Path(__file__).resolve().parents[2] / "shared" / "data"
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("orders", type=Path, nargs="?", default=data / "year-orders.csv.gz")
    parser.add_argument("inventory", type=Path, nargs="?", default=data / "year-inventory.csv.gz")
    parser.add_argument("--orders-first", action="store_true")
    args = parser.parse_args()
    with running_postgres() as url:
        ok = asyncio.run(measure(url, args.orders, args.inventory, orders_first=args.orders_first))
    sys.stdout.write(f"{'within' if ok else 'BEYOND'} {MAX_SECONDS} s and {MAX_MIB} MiB\n")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
