"""Old records are thrown away, so that nothing grows without bound: the step ledger, events, notifications."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import CursorResult, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.orders import order_process_id

OLD_KEYS = text("""
    SELECT business_key FROM process_generations
    WHERE started_at < :before AND business_key > :after ORDER BY business_key LIMIT :limit
""")
# A key whose steps may still have to be undone, or whose order waits for a person, is never too old. The row of the
# generation goes first: a run that begins at this moment has changed it, or finds nothing of an older one.
PRUNE_KEYS = text("""
    WITH gone AS (
        DELETE FROM process_generations AS key
        WHERE business_key = ANY(CAST(:keys AS text[])) AND started_at < :before
          AND NOT EXISTS (SELECT FROM step_ledger WHERE business_key = key.business_key AND updated_at >= :before)
          AND NOT EXISTS (
              SELECT FROM step_ledger AS step
              WHERE business_key = key.business_key AND undo IS NOT NULL AND state <> 'undone'
                AND NOT EXISTS (SELECT FROM step_ledger AS last WHERE last.business_key = step.business_key
                                AND last.generation = step.generation AND last.final AND last.state = 'done'))
          AND NOT EXISTS (SELECT FROM orders WHERE hold_reason IS NOT NULL AND starts_with(key.business_key, :order_key)
                          AND orders.id = substr(key.business_key, length(:order_key) + 1))
        RETURNING business_key
    ), steps AS (
        DELETE FROM step_ledger USING gone WHERE step_ledger.business_key = gone.business_key
    )
    SELECT count(*) FROM gone
""")
PRUNE_EVENTS = text("""
    DELETE FROM outbox_events WHERE id IN (
        SELECT id FROM outbox_events WHERE published_at < :before ORDER BY published_at LIMIT :limit)
""")
PRUNE_NOTIFICATIONS = text("""
    DELETE FROM notifications WHERE key IN (
        SELECT key FROM notifications WHERE created_at < :before AND status IN ('sent', 'failed')
        ORDER BY created_at LIMIT :limit)
""")


async def old_keys(tx: AsyncSession, before: datetime, after: str, limit: int) -> list[str]:
    """Return business keys whose latest run began before this time, in order, from behind one on."""
    return list(await tx.scalars(OLD_KEYS, {"before": before, "after": after, "limit": limit}))


async def prune_keys(tx: AsyncSession, keys: Collection[str], before: datetime) -> int:
    """Forget the steps of these processes, which do not run, as far as nothing of them is needed; return how many."""
    values = {"keys": sorted(keys), "before": before, "order_key": order_process_id("")}
    pruned: int = (await tx.execute(PRUNE_KEYS, values)).scalar_one()
    return pruned


async def prune_events(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete so many events that were published before this time; return how many there were."""
    return _rows(await tx.execute(PRUNE_EVENTS, {"before": before, "limit": limit}))


async def prune_notifications(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete so many notifications older than this that are sent or given up; return how many there were."""
    return _rows(await tx.execute(PRUNE_NOTIFICATIONS, {"before": before, "limit": limit}))


def _rows(done: Any) -> int:
    assert isinstance(done, CursorResult)
    return done.rowcount
