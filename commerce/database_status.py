"""Queries about the database server, for diagnosis."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

HAS_REVISION = text("SELECT to_regclass('alembic_version') IS NOT NULL")
REVISION = text("SELECT version_num FROM alembic_version")
CLOCK = text("SELECT clock_timestamp()")
# The limit is the lowest of the server's, the database's and the role's; -1 means none.
CONNECTIONS = text("""
    SELECT (SELECT CAST(sum(numbackends) AS int) FROM pg_stat_database) AS used,
           least(
               CAST(current_setting('max_connections') AS int)
                   - CAST(current_setting('superuser_reserved_connections') AS int),
               (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
               (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)) AS allowed
""")
# Sorting more than fits into this memory writes a temporary file to the server's disk, and nothing that stays there.
LITTLE_MEMORY = text("SET LOCAL work_mem = '64kB'")
SORT_ON_DISK = text("SELECT count(*) FROM (SELECT n FROM generate_series(1, 20000) AS n ORDER BY n DESC OFFSET 0) AS s")
DISK_FULL = "53100"  # SQLSTATE


async def write_temporary_file(tx: AsyncSession) -> None:
    """Write a few hundred kilobytes to the server's disk; raises an error with SQLSTATE 53100 if it is full."""
    await tx.execute(LITTLE_MEMORY)
    await tx.execute(SORT_ON_DISK)


async def schema_revision(tx: AsyncSession) -> str | None:
    """Return the schema's revision; None: there are no tables yet."""
    if not await tx.scalar(HAS_REVISION):
        return None
    found: str | None = await tx.scalar(REVISION)
    return found


async def server_time(tx: AsyncSession) -> datetime:
    """Return the server's time."""
    time: datetime = (await tx.execute(CLOCK)).scalar_one()
    return time


async def count_connections(tx: AsyncSession) -> tuple[int, int]:
    """Return how many connections the server has open, to all its databases, and how many it allows us."""
    used, allowed = (await tx.execute(CONNECTIONS)).one()
    return used, allowed
