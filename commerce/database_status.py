"""Queries about the database server, for diagnosis."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.tables import Base

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
# Tables that our role cannot use, and whether it can do more than use them. A superuser also reads the server's files.
ROLE = text("""
    SELECT current_user AS name, rolsuper AS is_superuser,
           EXISTS (SELECT FROM pg_class
                   WHERE oid = to_regclass('alembic_version') AND relowner = pg_roles.oid) AS is_owner,
           ARRAY(SELECT CAST(relname AS text) FROM pg_class
                 WHERE oid = ANY(SELECT to_regclass(name) FROM unnest(CAST(:tables AS text[])) AS name)
                   AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT')
                            AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE')
                            AND has_table_privilege(oid, 'MAINTAIN')) ORDER BY 1) AS unusable
    FROM pg_roles WHERE rolname = current_user
""")
# Sorting more than fits into this memory writes a temporary file to the server's disk, and nothing that stays there.
LITTLE_MEMORY = text("SET LOCAL work_mem = '64kB'")
SORT_ON_DISK = text("SELECT count(*) FROM (SELECT n FROM generate_series(1, 20000) AS n ORDER BY n DESC OFFSET 0) AS s")
DISK_FULL = "53100"  # SQLSTATE


async def write_temporary_file(tx: AsyncSession) -> None:
    """Write a few hundred kilobytes to the server's disk; raises an error with SQLSTATE 53100 if it is full."""
    await tx.execute(LITTLE_MEMORY)
    await tx.execute(SORT_ON_DISK)


class Role(NamedTuple):
    """The role that we connect with."""

    name: str
    is_superuser: bool
    is_owner: bool  # of the tables
    unusable: Sequence[str]  # tables that it lacks a privilege for


async def our_role(tx: AsyncSession) -> Role:
    """Return the role that we connect with, and what it may do with our tables."""
    return Role(*(await tx.execute(ROLE, {"tables": list(Base.metadata.tables)})).one())


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
