"""The shop's backlog: orders, events and notifications that wait. Its query stays cheap with millions of orders."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.open_orders import IS_HELD, IS_PENDING

AGE_OF_OLDEST = "coalesce(extract(epoch FROM now() - min(created_at)), 0)"
# Each count reads a partial index of open rows only (see commerce/tables.py), so done rows cost nothing.
MEASURE = text(f"""
    SELECT pending.count, pending.age, held.count, waiting.count, waiting.age, unsent.queued, unsent.failed
    FROM (SELECT count(*), {AGE_OF_OLDEST} AS age FROM orders WHERE {IS_PENDING}) AS pending,
         (SELECT count(*) FROM orders WHERE {IS_HELD}) AS held,
         (SELECT count(*), {AGE_OF_OLDEST} AS age FROM outbox_events WHERE published_at IS NULL) AS waiting,
         (SELECT count(*) FILTER (WHERE status <> 'failed' AND created_at < now() - interval '10 minutes') AS queued,
                 count(*) FILTER (WHERE status = 'failed' AND created_at > now() - interval '1 day') AS failed
          FROM notifications WHERE status <> 'sent') AS unsent
""")  # noqa: S608 - our own constants


# Once a run has begun to process an order, the order stays pending in the database until the run decides about it.
WAITING = text(f"""
    SELECT count(*) FILTER (WHERE waits), count(*) FILTER (WHERE NOT waits),
           coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE waits)), 0)
    FROM (SELECT created_at, id <> ALL (CAST(:running AS text[])) AS waits FROM orders WHERE {IS_PENDING}) AS pending
""")  # noqa: S608 - our own constant


class Pending(NamedTuple):
    """Pending orders that wait for a run, and those that have one; the age of the oldest that waits, in seconds."""

    waiting: int
    running: int
    oldest_age: float


class Backlog(NamedTuple):
    """Counts, and ages in seconds; commerce/telemetry/metrics.py describes them."""

    pending_orders: float
    oldest_pending_order_age: float
    held_orders: float
    outbox_events: float
    outbox_lag: float
    queued_notifications: float
    failed_notifications: float


async def measure(tx: AsyncSession) -> Backlog:
    """Return the current backlog."""
    return Backlog(*map(float, (await tx.execute(MEASURE)).one()))


async def measure_pending(tx: AsyncSession, running: Sequence[str]) -> Pending:
    """Return how many pending orders wait; `running` are the ids of orders whose process is running."""
    return Pending(*(await tx.execute(WAITING, {"running": running})).one())
