"""DBOS Transact: application and engine are one process, state is in PostgreSQL."""

import asyncio
import sys

from dbos import DBOS, SetWorkflowID

from benchmarks.engines.service import serve
from benchmarks.engines.steps import POOL, steps_of
from commerce.database import Database


async def main(database_url: str, system_url: str) -> None:
    DBOS(config={"name": "shop", "system_database_url": system_url, "log_level": "ERROR"})
    steps = [DBOS.step(name=name)(step) for name, step in steps_of(Database(database_url, pool_size=POOL)).items()]

    @DBOS.workflow()
    async def process_order(order_id: str) -> None:
        for step in steps:
            await step(order_id)

    async def process(order_id: str) -> None:
        with SetWorkflowID(order_id):
            await process_order(order_id)

    DBOS.launch()
    await serve(process)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
