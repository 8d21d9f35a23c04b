"""Connects to PostgreSQL, for the pool, the relay and migrations. Accepts the same URLs as psql."""

import asyncio
from typing import Any

import asyncpg
from sqlalchemy import make_url

DIALECT = "postgresql+asyncpg://"  # for engines whose `async_creator` is `connect`, which has the rest of the address
POSTGRES_PORT = 5432
CONNECT_TIMEOUT = 5  # seconds


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """Open one connection to a `postgresql://` URL with libpq's parameters, like `?sslmode=verify-full`.

    `options` go to `asyncpg.connect`, whose errors are raised.
    """
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connecting = asyncio.ensure_future(asyncpg.connect(address, timeout=CONNECT_TIMEOUT, **options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # Cancelled itself, asyncpg may leave a future with an error behind, which Python logs when it is collected.
        connecting.add_done_callback(_discard)
        raise


def _discard(connecting: asyncio.Future[asyncpg.Connection]) -> None:
    """Close the connection, if there is one."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
