"""Measure the time from committing an event to the start of its process: `python benchmarks/events.py DIR [N]`.

DIR is the data folder of `commerce up`. N times (default 100), one at a time, `order.placed` is written for an order
that does not exist; its process starts and soon fails. The times of Temporal and of this program are compared, so run
both on one machine. Then a burst of N × 10 events is timed until all of them are published.
"""

import asyncio
import statistics
import sys
import time
from pathlib import Path
from uuid import uuid4

from sqlalchemy import text
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from commerce import outbox
from commerce.database import Database
from commerce.messages.orders import order_process_id
from commerce.outbox import NewEvent
from commerce.settings import load_environment, load_settings
from starter.client import connect
from starter.telemetry.exit import exit_process

TARGET = 200  # milliseconds, median
BURST = 10  # times N
UNPUBLISHED = text("SELECT count(*) FROM outbox_events WHERE published_at IS NULL")


def order_placed(order_id: str) -> NewEvent:
    return NewEvent(f"benchmark/{order_id}", "order.placed", f"order/{order_id}", {"order_id": order_id})


async def commit_events(database: Database, *order_ids: str) -> float:
    """Commit events and return the time of the commit, in seconds since 1970."""
    async with database.transaction() as tx:
        await outbox.add(tx, *(order_placed(order_id) for order_id in order_ids))
    return time.time()


async def wait_for_start(client: Client, order_id: str) -> float:
    """Return when the process of an order started, in seconds since 1970."""
    while True:
        try:
            run = await client.get_workflow_handle(order_process_id(order_id)).describe()
            return run.start_time.timestamp()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(0.01)


async def wait_until_published(database: Database) -> float:
    """Return when all events were published, in seconds since 1970."""
    while True:
        async with database.transaction() as tx:
            if (await tx.execute(UNPUBLISHED)).scalar_one() == 0:
                return time.time()
        await asyncio.sleep(0.05)


async def main(data_dir: Path, number: int) -> bool:
    environment = load_environment(data_dir)
    database = Database(load_settings(environment).database_url.get_secret_value())
    client, run = await connect(environment), uuid4().hex[:8]
    milliseconds = []
    for n in range(number):
        committed = await commit_events(database, f"{run}-{n}")
        milliseconds.append(1_000 * (await wait_for_start(client, f"{run}-{n}") - committed))
        await asyncio.sleep(0.1)  # until everything is idle again
    median, slowest = statistics.median(milliseconds), max(milliseconds)
    print(f"commit to start: median {median:.0f} ms, slowest of {number} {slowest:.0f} ms, target {TARGET} ms")
    committed = await commit_events(database, *(f"{run}-burst-{n}" for n in range(BURST * number)))
    rate = BURST * number / (await wait_until_published(database) - committed)
    print(f"a burst of {BURST * number:,}: {rate:.0f} starts/s")
    await database.close()
    return median <= TARGET


if __name__ == "__main__":
    ok = asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100))
    exit_process(0 if ok else 1)
