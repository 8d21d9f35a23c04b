"""Connects to PostgreSQL, for the pool, the relay and migrations. Accepts the same URLs as psql."""

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
    return await asyncpg.connect(address, timeout=CONNECT_TIMEOUT, **options)
