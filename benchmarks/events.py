"""How long from a commit to the start of the process that its event starts: `python benchmarks/events.py DIR [N]`.

DIR is the data folder of `commerce up`. N times (default 100), one after the other, `order.placed` is written for an
order that does not exist, whose process starts and soon fails. Temporal's clock is taken for ours: run it on one
machine. Afterwards N × 10 events of one burst are timed until all are published.
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

AIM = 200  # milliseconds, median
BURST = 10  # times N
WAITING = text("SELECT count(*) FROM outbox_events WHERE published_at IS NULL")


def placed(order_id: str) -> NewEvent:
    return NewEvent(f"benchmark/{order_id}", "order.placed", f"order/{order_id}", {"order_id": order_id})


async def write(database: Database, *order_ids: str) -> float:
    """Commit events, and return when that was done."""
    async with database.transaction() as tx:
        await outbox.add(tx, *(placed(order_id) for order_id in order_ids))
    return time.time()


async def started(client: Client, order_id: str) -> float:
    while True:
        try:
            run = await client.get_workflow_handle(order_process_id(order_id)).describe()
            return run.start_time.timestamp()
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
        await asyncio.sleep(0.01)


async def published(database: Database) -> float:
    while True:
        async with database.transaction() as tx:
            if (await tx.execute(WAITING)).scalar_one() == 0:
                return time.time()
        await asyncio.sleep(0.05)


async def main(data_dir: Path, number: int) -> bool:
    environment = load_environment(data_dir)
    database = Database(load_settings(environment).database_url.get_secret_value())
    client, run = await connect(environment), uuid4().hex[:8]
    milliseconds = []
    for n in range(number):
        committed = await write(database, f"{run}-{n}")
        milliseconds.append(1_000 * (await started(client, f"{run}-{n}") - committed))
        await asyncio.sleep(0.1)  # idle again
    median, slowest = statistics.median(milliseconds), max(milliseconds)
    print(f"commit to start: median {median:.0f} ms, slowest of {number} {slowest:.0f} ms, aim {AIM} ms")
    committed = await write(database, *(f"{run}-burst-{n}" for n in range(BURST * number)))
    rate = BURST * number / (await published(database) - committed)
    print(f"a burst of {BURST * number:,}: {rate:.0f} starts/s")
    await database.close()
    return median <= AIM


if __name__ == "__main__":
    ok = asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100))
    exit_process(0 if ok else 1)
