"""Deletes what is past its retention, so that no table grows without bound (E17): ledger, events, messages and more."""

from collections.abc import Collection
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import job_turns
from commerce.forgotten import BILLING
from commerce.messages.orders import order_process_id
from commerce.open_orders import IS_HELD

OLD_KEYS = text("""
    SELECT started_at, business_key FROM process_generations
    WHERE started_at < :before AND (started_at, business_key) > (:started_at, :business_key)
      AND NOT starts_with(business_key, :turns)
    ORDER BY started_at, business_key LIMIT :limit
""")
START = datetime(1970, 1, 1, tzinfo=UTC)
# A key stays while its steps may have to be undone, or while its order is on hold. The generation's row is deleted
# first: a run that starts at the same moment has either updated that row, or finds no older generation at all.
PRUNE_KEYS = text(f"""
    WITH gone AS (
        DELETE FROM process_generations AS key
        WHERE business_key = ANY(CAST(:keys AS text[])) AND started_at < :before
          AND NOT EXISTS (SELECT FROM step_ledger WHERE business_key = key.business_key AND updated_at >= :before)
          AND NOT EXISTS (
              SELECT FROM step_ledger AS step
              WHERE business_key = key.business_key AND undo IS NOT NULL AND state <> 'undone'
                AND NOT EXISTS (SELECT FROM step_ledger AS last WHERE last.business_key = step.business_key
                                AND last.generation = step.generation AND last.final AND last.state = 'done'))
          AND NOT EXISTS (SELECT FROM orders WHERE {IS_HELD} AND starts_with(key.business_key, :order_key)
                          AND orders.id = substr(key.business_key, length(:order_key) + 1))
        RETURNING business_key
    ), steps AS (
        DELETE FROM step_ledger USING gone WHERE step_ledger.business_key = gone.business_key
    ), waits AS (
        DELETE FROM step_waits USING gone WHERE step_waits.business_key = gone.business_key
    )
    SELECT count(*) FROM gone
""")  # noqa: S608 - our own constant
PRUNE_EVENTS = text("""
    DELETE FROM outbox_events WHERE id IN (
        SELECT id FROM outbox_events WHERE published_at < :before ORDER BY published_at LIMIT :limit)
    RETURNING 1
""")
# A customer's failed mail stays: a retry of a fulfilled order sends it, and takes a deleted one for sent.
PRUNE_NOTIFICATIONS = text("""
    DELETE FROM notifications WHERE key IN (
        SELECT key FROM notifications
        WHERE created_at < :before AND (status = 'sent' OR status = 'failed' AND kind <> 'order-shipped')
        ORDER BY created_at LIMIT :limit)
    RETURNING 1
""")
PRUNE_INTAKE = text("""
    DELETE FROM intake_deliveries WHERE (platform, delivery_id, content_hash) IN (
        SELECT platform, delivery_id, content_hash FROM intake_deliveries
        WHERE received_at < :before AND status <> 'waiting' ORDER BY received_at LIMIT :limit)
    RETURNING 1
""")
PRUNE_PENDING = text("""
    DELETE FROM pending_registrations WHERE process_id IN (
        SELECT process_id FROM pending_registrations WHERE asked_at < :before ORDER BY asked_at LIMIT :limit)
    RETURNING 1
""")
# Of forgotten customers (A7).
ERASE_INVOICES = text(f"""
    UPDATE orders SET {", ".join(f"{name} = NULL" for name in BILLING)}, keeps_invoice = false
    WHERE id IN (SELECT id FROM orders WHERE keeps_invoice AND created_at <= :before ORDER BY created_at LIMIT :limit)
    RETURNING 1
""")  # noqa: S608 - our own columns


async def list_old_keys(tx: AsyncSession, before: datetime, after: str, limit: int) -> tuple[list[str], str | None]:
    """Return business keys whose latest run started before this time, oldest first, and where to continue.

    `after` is where an earlier page ended; empty for the first one. None: there are no more.
    """
    started_at, business_key = _position(after)
    values = {"before": before, "started_at": started_at, "business_key": business_key, "limit": limit}
    rows = (await tx.execute(OLD_KEYS, values | {"turns": job_turns.KEY_PREFIX})).all()
    more = f"{rows[-1].started_at.isoformat()} {rows[-1].business_key}" if len(rows) == limit else None
    return [row.business_key for row in rows], more


def _position(after: str) -> tuple[datetime, str]:
    """Return where a page ended: the start and the key of its last process."""
    started_at, _, business_key = after.partition(" ")
    try:
        return datetime.fromisoformat(started_at), business_key
    except ValueError:  # there was no page, or an older version wrote only the key: start at the beginning
        return START, ""


async def prune_keys(tx: AsyncSession, keys: Collection[str], before: datetime) -> int:
    """Delete the ledger of these closed processes unless it is still needed; return how many were deleted."""
    values = {"keys": sorted(keys), "before": before, "order_key": order_process_id("")}
    pruned: int = (await tx.execute(PRUNE_KEYS, values)).scalar_one()
    return pruned


async def prune_events(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete at most `limit` events that were published before this time; return how many were deleted."""
    return len((await tx.execute(PRUNE_EVENTS, {"before": before, "limit": limit})).all())


async def prune_notifications(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete at most `limit` older notifications that need not be sent any more; return how many were deleted."""
    return len((await tx.execute(PRUNE_NOTIFICATIONS, {"before": before, "limit": limit})).all())


async def prune_intake(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete at most `limit` webhooks of shops that were received before this time; return how many were deleted."""
    return len((await tx.execute(PRUNE_INTAKE, {"before": before, "limit": limit})).all())


async def erase_invoices(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Erase what is kept for invoices of at most `limit` orders of forgotten customers that were placed before this.

    Return of how many.
    """
    return len((await tx.execute(ERASE_INVOICES, {"before": before, "limit": limit})).all())


async def prune_pending(tx: AsyncSession, before: datetime, limit: int) -> int:
    """Delete at most `limit` registrations that waited before this time and were terminated; return of how many."""
    return len((await tx.execute(PRUNE_PENDING, {"before": before, "limit": limit})).all())
