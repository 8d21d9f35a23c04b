"""Process every paid order of a running stack, and print outcomes and times: `python benchmarks/orders.py DIR [N]`.

DIR is the data folder of `commerce up`. N orders are processed at once (default 1: one by one, in order of arrival).
"""

import asyncio
import collections
import statistics
import sys
import time
from pathlib import Path

from sqlalchemy import text

from commerce.database import Database
from commerce.settings import load_environment, load_settings
from starter.client import connect, process_order
from starter.telemetry.exit import exit_process

PENDING = text(
    "SELECT id FROM orders WHERE payment_status = 'captured' AND cancelled_at IS NULL ORDER BY created_at, id"
)


async def main(data_dir: Path, at_once: int) -> None:
    environment = load_environment(data_dir)
    database = Database(load_settings(environment).database_url.get_secret_value())
    async with database.transaction() as tx:
        orders = (await tx.scalars(PENDING)).all()
    client, slots = await connect(environment), asyncio.Semaphore(at_once)
    outcomes: collections.Counter[str] = collections.Counter()
    seconds: list[float] = []

    async def process(order_id: str) -> None:
        async with slots:
            started = time.perf_counter()
            outcomes[(await process_order(client, order_id)).status] += 1
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(process(order_id) for order_id in orders))
    duration = time.perf_counter() - started
    print(dict(outcomes), f"{len(orders) / duration:.1f} orders/s, median {statistics.median(seconds) * 1000:.0f} ms")
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1))
    exit_process(0)
