"""How the shop stands, by a few questions to its database that stay cheap when it has millions of orders."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.orders import IS_OPEN, IS_PENDING

AGE = "coalesce(extract(epoch FROM now() - min(created_at)), 0)"
# Each count reads a partial index of what is open, so what is done costs nothing; see commerce/tables.py.
LOOK = text(f"""
    SELECT pending.count, pending.age, held.count, waiting.count, waiting.age, unsent.queued, unsent.failed
    FROM (SELECT count(*), {AGE} AS age FROM orders WHERE {IS_PENDING}) AS pending,
         (SELECT count(*) FROM orders WHERE {IS_OPEN} AND hold_reason IS NOT NULL) AS held,
         (SELECT count(*), {AGE} AS age FROM outbox_events WHERE published_at IS NULL) AS waiting,
         (SELECT count(*) FILTER (WHERE status <> 'failed' AND created_at < now() - interval '10 minutes') AS queued,
                 count(*) FILTER (WHERE status = 'failed' AND created_at > now() - interval '1 day') AS failed
          FROM notifications WHERE status <> 'sent') AS unsent
""")  # noqa: S608 - a text of our own


class Backlog(NamedTuple):
    """Counts, and ages in seconds; see commerce/telemetry/metrics.py."""

    pending_orders: float
    oldest_pending_order_age: float
    held_orders: float
    outbox_events: float
    outbox_lag: float
    queued_notifications: float
    failed_notifications: float


async def measure(tx: AsyncSession) -> Backlog:
    """Return how the shop stands now."""
    return Backlog(*map(float, (await tx.execute(LOOK)).one()))
