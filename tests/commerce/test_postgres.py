"""Connections to PostgreSQL."""

import asyncio
import gc
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import asyncpg

from commerce.postgres import connect

STEPS = 40  # of the event loop: enough for a connection on this machine to be open
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def test_a_cancelled_connect_leaves_no_connection_and_no_error(database_url: str) -> None:
    gc.collect()  # what earlier tests left
    loop, errors = asyncio.get_running_loop(), list[Mapping[str, Any]]()
    loop.set_exception_handler(lambda _, context: errors.append(context))
    try:
        for steps in range(STEPS):
            connecting = asyncio.create_task(connect(database_url))
            for _ in range(steps):
                await asyncio.sleep(0)
            connecting.cancel()
            with suppress(asyncio.CancelledError):
                await (await connecting).close()  # it was faster
        observer = await asyncpg.connect(database_url)
        async with asyncio.timeout(30):
            while await observer.fetchval(OTHERS):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)
        await observer.close()
        gc.collect()
    finally:
        loop.set_exception_handler(None)
    assert errors == []
