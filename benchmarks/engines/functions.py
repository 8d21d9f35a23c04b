"""The shop's functions alone, nothing durable: the limit for every engine."""

import asyncio
import sys

from benchmarks.engines.service import serve
from benchmarks.engines.steps import POOL, steps_of
from commerce.database import Database


async def main(database_url: str) -> None:
    steps = steps_of(Database(database_url, pool_size=POOL))

    async def process(order_id: str) -> None:
        for step in steps.values():
            await step(order_id)

    await serve(process)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
