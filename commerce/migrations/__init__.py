"""Schema migrations. `commerce migrate` applies them while the shop keeps working."""

import asyncio
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, NullPool, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from commerce.errors import DatabaseUnavailable
from commerce.migrations.privileges import grant_use
from commerce.postgres import DIALECT, connect

# A statement that waits for a lock makes others queue behind it, so it gives up soon and is tried again. The timeout is
# below PostgreSQL's deadlock_timeout of 1 s, so in a deadlock the migration is the one that fails.
LOCK_TIMEOUT = 500  # milliseconds
PAUSE = 1.0  # seconds between attempts, in which other transactions proceed
MAX_ATTEMPTS = 600
TABLE_LOCKED = (
    "for ten minutes or more, another transaction has locked a table that the migration must change; "
    "find the transaction in pg_stat_activity by xact_start, end it, and migrate again"
)
LOCK_NOT_AVAILABLE, DEADLOCK, INSUFFICIENT_PRIVILEGE = "55P03", "40P01", "42501"
NOT_THE_OWNER = (
    "the database's role does not own the tables, so it cannot change them: "
    "set COMMERCE_MIGRATION_DATABASE_URL to the URL of the role that owns them"
)
SESSION = {
    "application_name": "commerce migrate",
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_TIMEOUT}ms",
    "client_connection_check_interval": "5s",  # a killed migration must not continue on the server for hours
}
# Polled: a waiting statement would hold a snapshot, and another migration's CREATE INDEX CONCURRENTLY waits for that.
TRY_LOCK = text("SELECT pg_try_advisory_lock(hashtext('commerce.migrations'))")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our revisions, bound to an open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


async def upgrade(url: str, revision: str = "head", *, role: str | None = None) -> None:
    """Upgrade the schema to a revision, and let `role` use the tables; concurrent upgrades take turns.

    Raises the driver's errors, and DatabaseUnavailable when a table that must be changed stays locked, or belongs to
    another role.
    """
    creator = partial(connect, url, server_settings=SESSION)
    engine = create_async_engine(DIALECT, async_creator=creator, poolclass=NullPool, hide_parameters=True)
    for _ in range(MAX_ATTEMPTS):
        try:
            async with engine.connect() as connection:
                return await _upgrade(connection, revision, role)
        except DBAPIError as error:
            state = getattr(error.orig, "sqlstate", None)
            if state == INSUFFICIENT_PRIVILEGE:
                raise DatabaseUnavailable(NOT_THE_OWNER) from None
            if state not in (LOCK_NOT_AVAILABLE, DEADLOCK):
                raise
        await asyncio.sleep(PAUSE)
    raise DatabaseUnavailable(TABLE_LOCKED)


def revisions() -> list[str]:
    """Return the ids of all revisions of this version, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


async def _upgrade(connection: AsyncConnection, revision: str, role: str | None) -> None:
    """Upgrade from the current revision once no other migration runs; the lock is released with the connection."""
    while not await connection.scalar(TRY_LOCK):
        await connection.rollback()
        await asyncio.sleep(PAUSE)
    await connection.commit()
    await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), revision))
    if role is not None:
        await grant_use(connection, role)
