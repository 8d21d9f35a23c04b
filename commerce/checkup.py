"""What the database tells of itself to who looks for what is wrong."""

from datetime import datetime
from typing import NamedTuple

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
AGE = "coalesce(extract(epoch FROM now() - min(created_at)), 0)"
WAITING = text(f"""
    SELECT pending.count, pending.age, held.count, events.count, events.age, unsent.queued, unsent.failed
    FROM (SELECT count(*), {AGE} AS age FROM orders
          WHERE payment_status = 'captured' AND fulfillment_status = 'not_fulfilled'
            AND cancelled_at IS NULL AND hold_reason IS NULL AND refused_at IS NULL) AS pending,
         (SELECT count(*) FROM orders
          WHERE hold_reason IS NOT NULL AND fulfillment_status = 'not_fulfilled' AND cancelled_at IS NULL) AS held,
         (SELECT count(*), {AGE} AS age FROM outbox_events WHERE published_at IS NULL) AS events,
         (SELECT count(*) FILTER (WHERE status <> 'failed' AND created_at < now() - interval '10 minutes') AS queued,
                 count(*) FILTER (WHERE status = 'failed' AND created_at > now() - interval '1 day') AS failed
          FROM notifications WHERE status <> 'sent') AS unsent
""")  # noqa: S608 - a text of our own


class Waiting(NamedTuple):
    """What waits in the shop: counts, and ages in seconds."""

    pending_orders: int
    oldest_pending_order_age: float
    held_orders: int
    outbox_events: int
    outbox_lag: float
    queued_notifications: int
    failed_notifications: int


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


async def waiting(tx: AsyncSession) -> Waiting:
    """Return what waits; mails count once they are queued for ten minutes, failed ones for a day."""
    return Waiting(*(await tx.execute(WAITING)).one())
