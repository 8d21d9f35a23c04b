"""What orders earn, when their refunds became known, and which days of the report have to be counted again (J5, J7).

Whatever changes the figures of a day leaves a mark of that moment, in its own transaction. The count of a day takes the
marks it sees before it reads the orders, so a change that is committed later leaves its mark to the next run. A mark
has no unique key: a transaction that found one of another would not write its own.
"""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

# The captured money of an order that is not cancelled; null if it is not paid at all. These name the columns of
# `orders`. A partly paid order whose outstanding balance is not known counts as not paid.
CAPTURED = """CASE WHEN orders.cancelled_at IS NOT NULL THEN NULL
    WHEN orders.payment_status IN ('captured', 'partially_refunded', 'refunded') THEN orders.total
    WHEN orders.payment_status = 'partially_captured' AND orders.outstanding_total < orders.total
        THEN orders.total - greatest(orders.outstanding_total, 0) END"""
IS_CAPTURED = f"{CAPTURED} IS NOT NULL"
AWAITING = f"""CASE WHEN orders.cancelled_at IS NULL
    AND orders.payment_status IN ('awaiting', 'authorized', 'partially_captured')
    THEN orders.total - coalesce({CAPTURED}, 0) ELSE 0 END"""
# What was refunded here, with what was known to be refunded elsewhere then: the source may never learn of ours.
REFUNDED_HERE = """(SELECT refunded_elsewhere + made
    FROM order_payments, (SELECT coalesce(sum(amount), 0) AS made FROM order_refunds
                          WHERE order_refunds.order_id = orders.id AND state <> 'due') AS refund
    WHERE order_payments.order_id = orders.id AND made > 0)"""
# The refunds of a paid order, at most its captured money; null if it is not paid. `refunded` without an amount means
# all of it.
REFUNDED = f"""CASE WHEN orders.payment_status = 'refunded' AND orders.refunded_total = 0 THEN {CAPTURED}
    WHEN {IS_CAPTURED} THEN least(greatest(orders.refunded_total, {REFUNDED_HERE}), {CAPTURED}) END"""
# The columns of an order that its days' figures depend on, besides its lines.
RELEVANT = frozenset(
    (
        *("payment_status", "cancelled_at", "created_at", "currency", "total", "discount_total"),
        *("outstanding_total", "refunded_total", "email"),
    )
)


def record_statements(order_ids: str) -> tuple[TextClause, TextClause]:
    """Return statements that record orders as they are now, as `record` does; `order_ids` is a subquery of ids."""
    refunds = text(f"""
        INSERT INTO refunds (order_id, amount)
        SELECT id, {REFUNDED} - recorded
        FROM orders, LATERAL (
            SELECT coalesce(sum(amount), 0) AS recorded FROM refunds WHERE order_id = orders.id) AS refund
        WHERE id IN ({order_ids}) AND {REFUNDED} <> recorded
    """)  # noqa: S608 - our own columns
    marks = text(f"""
        INSERT INTO days_to_count (moment, customer_id)
        SELECT created_at, customer_id FROM orders WHERE id IN ({order_ids})
        UNION ALL
        SELECT known_at, NULL FROM refunds WHERE order_id IN ({order_ids})
    """)  # noqa: S608 - our own columns
    return refunds, marks


def mark_products(order_ids: str) -> str:
    """Return a statement that marks the days of orders of which other products are known now; see above."""
    return f"INSERT INTO days_to_count (moment) SELECT created_at FROM orders WHERE id IN ({order_ids})"  # noqa: S608


GIVEN = "SELECT unnest(CAST(:ids AS text[]))"
RECORD_REFUNDS, MARK_DAYS = record_statements(GIVEN)
# A customer whose first order has come or gone is new on another day. So the day of the next order is marked as well,
# without the customer, because later days stay as they are.
TAKE_MARKS = text(f"""
    WITH taken AS (
        DELETE FROM days_to_count WHERE moment < :end AND moment >= coalesce(CAST(:start AS timestamptz), '-infinity')
        RETURNING customer_id
    ), buyer AS (
        SELECT DISTINCT customer_id FROM taken WHERE customer_id IS NOT NULL
    )
    INSERT INTO days_to_count (moment)
    SELECT DISTINCT following.created_at
    FROM buyer, LATERAL (
        SELECT created_at FROM orders
        WHERE orders.customer_id = buyer.customer_id AND created_at >= :end AND {IS_CAPTURED}
        ORDER BY created_at LIMIT 1) AS following
""")  # noqa: S608 - our own columns
FIRST_MARK = text("SELECT min(moment) FROM days_to_count")


async def mark_days(tx: AsyncSession, order_ids: Sequence[str]) -> None:
    """Mark the days of orders and of their refunds, before something changes that these days' figures depend on."""
    await tx.execute(MARK_DAYS, {"ids": list(order_ids)})


async def record(tx: AsyncSession, order_ids: Sequence[str]) -> None:
    """Record refunds of new or changed orders that have become known now, and mark the days of all these orders.

    The caller has inserted or locked the orders. A refund that was corrected is recorded as the difference.
    """
    await tx.execute(RECORD_REFUNDS, {"ids": list(order_ids)})
    await mark_days(tx, order_ids)


async def first_mark(tx: AsyncSession) -> datetime | None:
    """Return the earliest marked moment."""
    moment: datetime | None = await tx.scalar(FIRST_MARK)
    return moment


async def take_marks(tx: AsyncSession, start: datetime | None, end: datetime) -> None:
    """Delete the marks from `start` (None: from the first one) until before `end`.

    The caller counts the days in this transaction, after this, or they were never counted.
    """
    await tx.execute(TAKE_MARKS, {"start": start, "end": end})
