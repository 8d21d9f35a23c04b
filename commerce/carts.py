"""Delete expired carts in batches, and publish an event for each (C1 to C3)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from asyncpg import PostgresError
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import outbox
from commerce.messages.carts import CartCursor, ExpiryRequest, ExpiryResult
from commerce.messages.events import CartExpired
from commerce.messages.jobs import MAX_FAILURES, ItemFailure
from commerce.outbox import NewEvent

# A deferred constraint would fail the whole batch at commit, without showing which cart is the cause.
CHECK_CONSTRAINTS_NOW = text("SET CONSTRAINTS ALL IMMEDIATE")
# The next open carts: how many, the last one, and the ids of those that could be locked. A locked cart cannot be
# completed or touched, and cannot get a new line, since that locks the cart too. `= ANY(ARRAY(...))` instead of a join:
# a join would read all carts for each page.
LOCK_PAGE = text("""
    WITH page AS MATERIALIZED (
        SELECT id, updated_at FROM carts
        WHERE completed_at IS NULL AND updated_at < :before
          AND (updated_at, id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), coalesce(:after_id, ''))
        ORDER BY updated_at, id LIMIT :limit
    ), locked AS (
        SELECT id FROM carts
        WHERE id = ANY(ARRAY(SELECT id FROM page)) AND completed_at IS NULL AND updated_at < :before
        FOR UPDATE SKIP LOCKED
    )
    SELECT (SELECT count(*) FROM page) AS seen, ARRAY(SELECT id FROM locked) AS locked, updated_at, id
    FROM page ORDER BY updated_at DESC, id DESC LIMIT 1
""")
# Separate from LOCK_PAGE, so that it sees all lines committed before it starts; the locks prevent later ones. It reads
# the lines' current versions, and fails if another transaction is changing one.
DELETE = text("""
    WITH lines AS MATERIALIZED (
        SELECT cart_id, updated_at FROM cart_lines WHERE cart_id = ANY(CAST(:ids AS text[])) FOR UPDATE NOWAIT
    )
    DELETE FROM carts
    WHERE id = ANY(CAST(:ids AS text[])) AND completed_at IS NULL AND updated_at < :before
      AND id NOT IN (SELECT cart_id FROM lines WHERE updated_at >= :before)
    RETURNING id, created_at
""")
LOCK_NOT_AVAILABLE = "55P03"  # the SQLSTATE of a failed NOWAIT
# SQLSTATE classes of errors caused by the server or by other transactions, not by the cart.
SERVER_ERROR_CLASSES = ("08", "40", "53", "57", "58", "XX")


async def expire(tx: AsyncSession, request: ExpiryRequest) -> ExpiryResult:
    """Delete one batch of expired carts with their lines, and publish `cart.expired` for each.

    A cart must still be expired at the moment of deletion. Carts that another transaction has locked are skipped. A
    cart that cannot be deleted is listed as a failure; errors that are not about a cart are raised.
    """
    await tx.execute(CHECK_CONSTRAINTS_NOW)
    page = await _lock_page(tx, request)
    if page is None:
        return ExpiryResult()
    deleted, failures = await _delete(tx, page.locked, request.before)
    await outbox.add(tx, *(_expired(cart.id, cart.created_at) for cart in deleted))
    return ExpiryResult(
        seen=page.seen,
        changed=len(deleted),
        skipped=page.seen - len(deleted) - len(failures),
        failed=len(failures),
        failures=failures[:MAX_FAILURES],
        next=CartCursor(updated_at=page.updated_at, id=page.id) if page.seen == request.limit else None,
    )


async def _lock_page(tx: AsyncSession, request: ExpiryRequest) -> Row[Any] | None:
    after = request.after
    values = {"after": after and after.updated_at, "after_id": after and after.id}
    return (await tx.execute(LOCK_PAGE, {"before": request.before, "limit": request.limit, **values})).one_or_none()


async def _delete(tx: AsyncSession, ids: Sequence[str], before: datetime) -> tuple[list[Row[Any]], list[ItemFailure]]:
    """Delete those of these locked carts that are still expired. If that fails, try halves, down to single carts."""
    deleted: list[Row[Any]] = []
    failures: list[ItemFailure] = []
    batches = [ids] if ids else []
    while batches:
        batch = batches.pop()
        try:
            async with tx.begin_nested():
                deleted += (await tx.execute(DELETE, {"ids": batch, "before": before})).all()
        except PostgresError as error:
            state, reason = _cart_error(error)
            if len(batch) > 1:
                middle = len(batch) // 2
                batches += [batch[middle:], batch[:middle]]
            elif state != LOCK_NOT_AVAILABLE:
                failures.append(ItemFailure(id=batch[0], reason=reason))
    return deleted, failures


def _cart_error(error: PostgresError) -> tuple[str, str]:
    """Return the SQLSTATE, and the constraint that prevents the deletion. Raises an error that is not about a cart."""
    state: str | None = getattr(error, "sqlstate", None)
    if state is None or state.startswith(SERVER_ERROR_CLASSES):
        raise error
    return state, getattr(error, "constraint_name", None) or f"SQLSTATE {state}"


def _expired(cart_id: str, created_at: datetime) -> NewEvent:
    fact = CartExpired(cart_id=cart_id, created_at=created_at)
    return NewEvent.from_data(fact, aggregate=f"cart/{cart_id}", key=f"{cart_id}/{created_at.isoformat()}")
