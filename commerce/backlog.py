"""The shop's backlog: orders, events and notifications that wait. Its query stays cheap with millions of orders."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.orders import order_process_id
from commerce.open_orders import IS_HELD, IS_PENDING, WAITS_FOR_PRODUCT

# Of the current generations: a newer run asks anew.
OPEN_WAITS = "step_waits JOIN process_generations USING (business_key, generation) WHERE kind IS NULL"
# An order whose process waits for an answer is not late, as long as its time is not over.
IS_WAITING = f"""EXISTS (SELECT FROM {OPEN_WAITS} AND until > now()
                    AND business_key = '{order_process_id("")}' || orders.id)"""


def _age(oldest: str) -> str:
    """Return the SQL of an age in seconds; 0 without rows.

    It is never negative, although a concurrent transaction may write what is newer than this one's now(), and the clock
    of an order's source may be ahead.
    """
    return f"greatest(extract(epoch FROM now() - {oldest}), 0)"


# Each count reads a partial index of open rows only (see commerce/tables.py), so done rows cost nothing.
MEASURE = text(f"""
    SELECT pending.count, pending.age, held.count, incomplete.count, wait.count, wait.age, wait.late,
           waiting.count, waiting.age,
           unsent.queued, unsent.failed
    FROM (SELECT count(*), {_age("min(created_at)")} AS age FROM orders WHERE {IS_PENDING} AND NOT {IS_WAITING})
             AS pending,
         (SELECT count(*) FROM orders WHERE {IS_HELD}) AS held,
         (SELECT count(*) FROM orders WHERE {WAITS_FOR_PRODUCT}) AS incomplete,
         (SELECT count(*), {_age("min(asked_at)")} AS age,
                 count(*) FILTER (WHERE now() - asked_at > (until - asked_at) / 2
                                    AND step NOT IN ('confirm-address', 'await-return')) AS late
          FROM {OPEN_WAITS}) AS wait,
         (SELECT count(*), {_age("min(created_at)")} AS age FROM outbox_events WHERE published_at IS NULL) AS waiting,
         (SELECT count(*) FILTER (WHERE status <> 'failed' AND created_at < now() - interval '10 minutes') AS queued,
                 count(*) FILTER (WHERE status = 'failed' AND created_at > now() - interval '1 day') AS failed
          FROM notifications WHERE status <> 'sent') AS unsent
""")  # noqa: S608 - our own constants

COUNT_WAITING_FOR_PRODUCT = text(f"SELECT count(*) FROM orders WHERE {WAITS_FOR_PRODUCT}")  # noqa: S608 - our constant

# Once a run has begun to process an order, the order stays pending in the database until the run decides about it.
WAITING = text(f"""
    SELECT count(*) FILTER (WHERE waits), count(*) FILTER (WHERE NOT waits),
           {_age("min(created_at) FILTER (WHERE waits)")}
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
    orders_waiting_for_product: float
    open_waits: float
    oldest_wait_age: float
    late_waits: float
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


async def count_waiting_for_product(tx: AsyncSession) -> int:
    """Return how many open orders have a line that is not linked to a product."""
    waiting: int = (await tx.execute(COUNT_WAITING_FOR_PRODUCT)).scalar_one()
    return waiting
