"""The schema's history, applied by `commerce migrate` beside a shop that goes on working."""

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
from commerce.postgres import DIALECT, connect

# Who waits for a lock makes others wait behind it. Less than PostgreSQL's deadlock_timeout of 1 s, so that in a
# deadlock it is the migration that gives way.
LOCK_TIMEOUT = 500  # milliseconds
PAUSE = 1.0  # seconds in which the others go on
TRIES = 600
HELD = (
    "the migration must change a table that a transaction has held all the time, for ten minutes or more; "
    "find it in pg_stat_activity by xact_start, end it, and migrate again"
)
LOCK_NOT_AVAILABLE, DEADLOCK = "55P03", "40P01"
SESSION = {
    "application_name": "commerce migrate",
    "statement_timeout": "0",
    "lock_timeout": f"{LOCK_TIMEOUT}ms",
    "client_connection_check_interval": "5s",  # a migration that was killed must not go on by itself for hours
}
# Tried, not waited for: who waits has a snapshot, and CREATE INDEX CONCURRENTLY would wait for it in turn.
ALONE = text("SELECT pg_try_advisory_lock(hashtext('commerce.migrations'))")


def alembic_config(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration for our scripts, bound to an open connection."""
    made = Config()
    made.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    made.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    made.attributes["connection"] = connection
    return made


async def upgrade(url: str, revision: str = "head") -> None:
    """Bring the schema to a revision; several at once take turns.

    Raises what the driver raises, and DatabaseUnavailable when a table is held too long that must be changed.
    """
    creator = partial(connect, url, server_settings=SESSION)
    engine = create_async_engine(DIALECT, async_creator=creator, poolclass=NullPool, hide_parameters=True)
    for _ in range(TRIES):
        try:
            async with engine.connect() as connection:
                return await _upgrade(connection, revision)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) not in (LOCK_NOT_AVAILABLE, DEADLOCK):
                raise
        await asyncio.sleep(PAUSE)
    raise DatabaseUnavailable(HELD)


def revisions() -> list[str]:
    """Return the revisions that this program knows, newest first."""
    return [script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()]


async def _upgrade(connection: AsyncConnection, revision: str) -> None:
    """Go on from where the schema stands, once nobody else does; that ends with the connection."""
    while not await connection.scalar(ALONE):
        await connection.rollback()
        await asyncio.sleep(PAUSE)
    await connection.commit()
    await connection.run_sync(lambda sync: command.upgrade(alembic_config(sync), revision))
