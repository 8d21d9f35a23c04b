"""One way into PostgreSQL, for the pool, the relay and migrations alike: what psql takes as a URL leads here too."""

from typing import Any

import asyncpg
from sqlalchemy import make_url

DIALECT = "postgresql+asyncpg://"  # for engines that connect by `connect`: the rest of an address is its matter
POSTGRES_PORT = 5432
CONNECT_TIMEOUT = 5  # seconds


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """Open one connection to a `postgresql://` URL, whose options are libpq's (`?sslmode=verify-full`).

    `options` are those of asyncpg; raises what it does.
    """
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    return await asyncpg.connect(address, timeout=CONNECT_TIMEOUT, **options)
