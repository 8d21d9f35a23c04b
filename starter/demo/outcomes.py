"""Count what became of a set of orders."""

from collections.abc import Collection

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.base import Message
from commerce.messages.orders import order_process_id
from commerce.open_orders import IS_HELD, IS_OPEN

PENDING = text(f"""
    SELECT id FROM orders WHERE id = ANY(CAST(:order_ids AS text[])) AND {IS_OPEN} ORDER BY created_at, id
""")  # noqa: S608 - our own constant
ORDERS = text(f"""
    WITH chosen AS (
        SELECT id, EXISTS (SELECT FROM step_waits JOIN process_generations USING (business_key, generation)
                           WHERE kind IS NULL AND business_key = '{order_process_id("")}' || orders.id) AS waits,
               fulfillment_status, cancellation, cancelled_at, refused_at, {IS_OPEN} AS is_open, {IS_HELD} AS is_held,
               (SELECT sum(quantity) FROM order_lines WHERE order_id = orders.id) AS units
        FROM orders WHERE id = ANY(CAST(:order_ids AS text[]))
    ), open AS (
        SELECT id, CASE WHEN cancelled_at IS NOT NULL THEN 'cancelled'
                        WHEN NOT is_open THEN 'unpaid'
                        WHEN is_held THEN 'undone'
                        WHEN waits THEN 'waiting'
                        WHEN refused_at IS NOT NULL THEN 'refused' END AS state
        FROM chosen WHERE fulfillment_status = 'not_fulfilled'
    )
    SELECT (SELECT count(*) FROM chosen WHERE fulfillment_status = 'fulfilled') AS fulfilled,
           (SELECT count(*) FROM chosen WHERE cancellation = 'cancelled') AS taken_back,
           (SELECT count(*) FROM order_returns JOIN chosen ON chosen.id = order_id
            WHERE order_returns.state = 'completed') AS returned,
           (SELECT count(*) FROM chosen WHERE fulfillment_status = 'fulfilled_elsewhere') AS fulfilled_elsewhere,
           (SELECT count(*) FROM open WHERE state = 'refused') AS refused,
           (SELECT count(*) FROM open WHERE state = 'undone') AS undone,
           (SELECT count(*) FROM open WHERE state = 'waiting') AS waiting,
           (SELECT count(*) FROM open WHERE state = 'cancelled') AS cancelled,
           (SELECT count(*) FROM open WHERE state = 'unpaid') AS unpaid,
           (SELECT CAST(coalesce(sum(units), 0) AS bigint) FROM chosen WHERE fulfillment_status = 'fulfilled') AS units,
           (SELECT count(*) FROM fulfillments JOIN chosen ON chosen.id = order_id
            WHERE fulfillments.cancelled_at IS NULL AND label_url IS NOT NULL) AS labels
""")  # noqa: S608 - our own constants
MAILS = text("""
    SELECT kind, status = 'sent' AS sent, count(*) AS mails FROM notifications
    WHERE order_id = ANY(CAST(:order_ids AS text[])) AND recipient LIKE '%@%'
    GROUP BY kind, sent ORDER BY mails DESC, kind
""")


class OrderOutcomes(Message):
    """Orders counted by outcome, and the units, labels and mails sent out for them."""

    fulfilled: int
    taken_back: int  # cancelled here after they were fulfilled
    returned: int  # of the fulfilled ones, those whose goods came back
    refused: int  # for stock
    undone: int
    waiting: int  # for a review
    unpaid: int
    cancelled: int
    fulfilled_elsewhere: int
    units: int  # on the lines of fulfilled orders
    labels: int  # bought and not refunded
    mails: dict[str, int]  # sent, by kind
    unsent: int  # mails


async def pending(tx: AsyncSession, order_ids: Collection[str]) -> list[str]:
    """Return which of these orders are open, in order of arrival."""
    return list(await tx.scalars(PENDING, {"order_ids": list(order_ids)}))


async def count_outcomes(tx: AsyncSession, order_ids: Collection[str]) -> OrderOutcomes:
    """Count the outcomes of these orders so far."""
    values = {"order_ids": list(order_ids)}
    orders = (await tx.execute(ORDERS, values)).mappings().one()
    mails = (await tx.execute(MAILS, values)).all()
    return OrderOutcomes(
        **orders,
        mails={row.kind: row.mails for row in mails if row.sent},
        unsent=sum(row.mails for row in mails if not row.sent),
    )
