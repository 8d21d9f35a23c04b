"""Carts that nobody touches any more are deleted, each with its event, in batches (C1 to C3)."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import outbox
from commerce.messages.carts import CartPlace, Expired, Expiry
from commerce.messages.events import CartExpired
from commerce.messages.jobs import MAX_FAILURES, ItemFailure
from commerce.outbox import NewEvent

# A deferred constraint would fail the whole batch as it commits, without telling for which cart.
NOTHING_DEFERRED = text("SET CONSTRAINTS ALL IMMEDIATE")
# Open carts in a row: how many, the last one, and those that are not in somebody else's hands. From here on nobody can
# complete a held one, touch it or put a line into it: a new line locks its cart. They are found by an array and not by
# a join, lest all carts be read for each page.
HOLD = text("""
    WITH page AS MATERIALIZED (
        SELECT id, updated_at FROM carts
        WHERE completed_at IS NULL AND updated_at < :before
          AND (updated_at, id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), coalesce(:after_id, ''))
        ORDER BY updated_at, id LIMIT :limit
    ), held AS (
        SELECT id FROM carts
        WHERE id = ANY(ARRAY(SELECT id FROM page)) AND completed_at IS NULL AND updated_at < :before
        FOR UPDATE SKIP LOCKED
    )
    SELECT (SELECT count(*) FROM page) AS seen, ARRAY(SELECT id FROM held) AS held, updated_at, id
    FROM page ORDER BY updated_at DESC, id DESC LIMIT 1
""")
# A statement of its own: it sees all lines that were committed before it began, and since then none can have come. It
# takes them as they are now, or fails when somebody is just touching one.
DELETE = text("""
    WITH lines AS MATERIALIZED (
        SELECT cart_id, updated_at FROM cart_lines WHERE cart_id = ANY(CAST(:ids AS text[])) FOR UPDATE NOWAIT
    )
    DELETE FROM carts
    WHERE id = ANY(CAST(:ids AS text[])) AND completed_at IS NULL AND updated_at < :before
      AND id NOT IN (SELECT cart_id FROM lines WHERE updated_at >= :before)
    RETURNING id, created_at
""")
IN_OTHER_HANDS = "55P03"  # the SQLSTATE of NOWAIT
# Classes of SQLSTATE that tell of the server or of others' transactions, not of the cart.
NOT_THE_CARTS_FAULT = ("08", "40", "53", "57", "58", "XX")


async def expire(tx: AsyncSession, request: Expiry) -> Expired:
    """Delete one batch of carts that have expired, with their lines, and write `cart.expired` for each.

    Deletes only what has expired still at that very moment, and waits for nobody who has a cart or a line in hand.
    What cannot be deleted is told as a failure; errors that are not about a cart are raised.
    """
    await tx.execute(NOTHING_DEFERRED)
    page = await _hold(tx, request)
    if page is None:
        return Expired()
    gone, failures = await _delete(tx, page.held, request.before)
    await outbox.add(tx, *(_expired(cart.id, cart.created_at) for cart in gone))
    return Expired(
        seen=page.seen,
        changed=len(gone),
        skipped=page.seen - len(gone) - len(failures),
        failed=len(failures),
        failures=failures[:MAX_FAILURES],
        next=CartPlace(updated_at=page.updated_at, id=page.id) if page.seen == request.limit else None,
    )


async def _hold(tx: AsyncSession, request: Expiry) -> Row[Any] | None:
    after = request.after
    values = {"after": after and after.updated_at, "after_id": after and after.id}
    return (await tx.execute(HOLD, {"before": request.before, "limit": request.limit, **values})).one_or_none()


async def _delete(tx: AsyncSession, ids: Sequence[str], before: datetime) -> tuple[list[Row[Any]], list[ItemFailure]]:
    """Delete those of these held carts that have expired still; what fails together is halved down to one cart."""
    gone: list[Row[Any]] = []
    failures: list[ItemFailure] = []
    waiting = [ids] if ids else []
    while waiting:
        some = waiting.pop()
        try:
            async with tx.begin_nested():
                gone += (await tx.execute(DELETE, {"ids": some, "before": before})).all()
        except DBAPIError as error:
            state, reason = _blame(error)
            if len(some) > 1:
                middle = len(some) // 2
                waiting += [some[middle:], some[:middle]]
            elif state != IN_OTHER_HANDS:
                failures.append(ItemFailure(id=some[0], reason=reason))
    return gone, failures


def _blame(error: DBAPIError) -> tuple[str, str]:
    """Return the SQLSTATE and in short why a cart cannot be deleted; raises an error that is not about a cart."""
    cause = error.orig.__cause__ if error.orig is not None else None
    state = getattr(cause, "sqlstate", None)
    if state is None or state.startswith(NOT_THE_CARTS_FAULT):
        raise error
    return state, getattr(cause, "constraint_name", None) or f"SQLSTATE {state}"


def _expired(cart_id: str, created_at: datetime) -> NewEvent:
    fact = CartExpired(cart_id=cart_id, created_at=created_at)
    return NewEvent.from_data(fact, aggregate=f"cart/{cart_id}", key=f"{cart_id}/{created_at.isoformat()}")
