"""What the database tells of itself to who looks for what is wrong."""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

HAS_REVISION = text("SELECT to_regclass('alembic_version') IS NOT NULL")
REVISION = text("SELECT version_num FROM alembic_version")
CLOCK = text("SELECT clock_timestamp()")
# The server's, the database's and the role's limit: the least one counts; -1 is none.
CONNECTIONS = text("""
    SELECT (SELECT CAST(sum(numbackends) AS int) FROM pg_stat_database) AS used,
           least(
               CAST(current_setting('max_connections') AS int)
                   - CAST(current_setting('superuser_reserved_connections') AS int),
               (SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()),
               (SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = current_user)) AS allowed
""")


async def revision(tx: AsyncSession) -> str | None:
    """Return the revision of the tables; None: there are none yet."""
    if not await tx.scalar(HAS_REVISION):
        return None
    found: str | None = await tx.scalar(REVISION)
    return found


async def clock(tx: AsyncSession) -> datetime:
    """Return the server's time."""
    time: datetime = (await tx.execute(CLOCK)).scalar_one()
    return time


async def connections(tx: AsyncSession) -> tuple[int, int]:
    """Return how many connections the server has, of all its databases, and how many we may have."""
    used, allowed = (await tx.execute(CONNECTIONS)).one()
    return used, allowed
