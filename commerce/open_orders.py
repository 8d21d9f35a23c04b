"""Which orders are open: they may be processed. One definition for steps, jobs, imports, gauges and indexes (V10)."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.pending_orders import OrderCursor, PendingIds, PendingPageRequest

# What the partial indexes of open orders know (see tables.py). Which payment methods are paid later, and which payments
# are captured here, is in tables, so that no condition depends on who asks.
MAY_BE_OPEN = """orders.payment_status IN ('captured', 'awaiting', 'authorized', 'partially_refunded')
             AND orders.fulfillment_status = 'not_fulfilled' AND orders.cancelled_at IS NULL"""
# Its payment is authorized, and is captured here once it is fulfilled (P4).
IS_CAPTURED_HERE = """EXISTS (
                 SELECT FROM capturable_payments AS capturable
                 WHERE orders.payment_status = 'authorized'
                   AND btrim(orders.payment_reference) ~ capturable.pattern OFFSET 0)"""
# An order is open if it may be processed: it is not being cancelled here, and it is paid, or its payment method is one
# of those that are paid later, or its payment is captured here. A person decides about an open order that was partly
# refunded.
IS_PAID = f"""(orders.payment_status IN ('captured', 'partially_refunded') OR EXISTS (
                 SELECT FROM ship_unpaid_methods AS unpaid
                 WHERE orders.payment_status = 'awaiting'
                   AND unpaid.method = lower(btrim(orders.payment_method)) OFFSET 0) OR {IS_CAPTURED_HERE})"""
IS_OPEN = f"{MAY_BE_OPEN} AND {IS_PAID} AND orders.cancellation IS NULL"
IS_HELD = f"{IS_OPEN} AND orders.hold_reason IS NOT NULL"  # only of an open order: nothing else would be processed
# A line without SKU that needs no shipping, such as a gift card, needs no stock either, nor does one that needs no
# shipping and that its shop has fulfilled by itself.
NEEDS_VARIANT = """line.variant_id IS NULL AND line.quantity > 0
             AND (line.requires_shipping OR line.sku <> '' AND line.fulfillment_status <> 'fulfilled_elsewhere')"""
# Goods are to be shipped, but nothing says how.
LACKS_METHOD = """coalesce(btrim(orders.shipping_method), '') = '' AND EXISTS (
                 SELECT FROM order_lines AS line
                 WHERE line.order_id = orders.id AND line.quantity > 0 AND line.requires_shipping)"""
# The order would be open if its payment could be captured here.
NOT_CAPTURABLE = f"""orders.payment_status = 'authorized' AND {MAY_BE_OPEN} AND NOT {IS_CAPTURED_HERE}
             AND EXISTS (SELECT FROM capturable_payments)"""
OPEN = text(f"""
    SELECT {IS_OPEN} AS is_open, {IS_OPEN} AND {LACKS_METHOD} AS lacks_method, {NOT_CAPTURABLE} AS not_capturable
    FROM orders WHERE id = :order_id
""")  # noqa: S608 - our own constants
# Writes only what differs: each worker does this when it starts.
SET_UNPAID_METHODS = text("""
    WITH gone AS (DELETE FROM ship_unpaid_methods WHERE method <> ALL (CAST(:methods AS text[])))
    INSERT INTO ship_unpaid_methods (method) SELECT DISTINCT unnest(CAST(:methods AS text[])) ORDER BY 1
    ON CONFLICT DO NOTHING
""")

SET_CAPTURABLE = text("""
    WITH gone AS (DELETE FROM capturable_payments WHERE pattern <> ALL (CAST(:patterns AS text[])))
    INSERT INTO capturable_payments (pattern) SELECT DISTINCT unnest(CAST(:patterns AS text[])) ORDER BY 1
    ON CONFLICT DO NOTHING
""")


def is_short(*, lines: str = "true", items: str = "true") -> str:
    """Return the SQL condition that an order needs more of an item than is available now.

    `lines` and `items` are conditions on the lines that count and on the items, grouped over these lines. An item
    without any level is not short: the order's next run reports it. OFFSET 0 makes PostgreSQL look up each table by
    index, one line after the other. Without statistics it would rather read the items of the whole shop, per order.
    """
    return f"""EXISTS (
        SELECT FROM (SELECT variant_id, quantity FROM order_lines
              WHERE order_id = orders.id AND quantity > 0 OFFSET 0) AS line,
        LATERAL (SELECT inventory_item_id, required_quantity, allow_backorder
                 FROM variants JOIN variant_inventory_items AS part ON part.variant_id = variants.id
                 WHERE variants.id = line.variant_id AND manage_inventory OFFSET 0) AS part
        WHERE {lines}
        GROUP BY inventory_item_id
        HAVING {items} AND sum(CAST(quantity AS bigint) * required_quantity) > (
            SELECT sum(greatest(stocked_quantity - reserved_quantity, 0)) FROM inventory_levels AS level
            WHERE level.inventory_item_id = part.inventory_item_id))"""  # noqa: S608 - our own constants


# OFFSET 0, as above: PostgreSQL looks the lines up by index, per order.
NEEDS_PRODUCT = f"""EXISTS (SELECT FROM order_lines AS line
                            WHERE line.order_id = orders.id AND {NEEDS_VARIANT} OFFSET 0)"""
WAITS_FOR_PRODUCT = f"{IS_OPEN} AND orders.hold_reason IS NULL AND {NEEDS_PRODUCT}"
# An order that lacks a product is pending once all its lines have one, and an order that was refused for stock once it
# is no longer short (V10). This asks for the lines and the stock as they are, not for what has changed, so it misses no
# cause, and it does not depend on the order of commits.
IS_PENDING = f"""{IS_OPEN} AND orders.hold_reason IS NULL AND NOT {NEEDS_PRODUCT}
      AND (waits_for_backorders IS NULL OR NOT {is_short(lines="waits_for_backorders OR NOT allow_backorder")})"""
PENDING = text(f"""
    SELECT id, created_at FROM orders
    WHERE {IS_PENDING}
      AND (created_at, id) > (coalesce(CAST(:after AS timestamptz), '-infinity'), coalesce(CAST(:after_id AS text), ''))
    ORDER BY created_at, id LIMIT :limit
""")  # noqa: S608 - our own constant


async def list_pending(tx: AsyncSession, page: PendingPageRequest) -> PendingIds:
    """Return the next page of orders that `process-pending-orders` may start, oldest first (V10)."""
    values = {"after": page.after and page.after.created_at, "after_id": page.after and page.after.id}
    rows = (await tx.execute(PENDING, values | {"limit": page.limit})).all()
    more = OrderCursor(created_at=rows[-1].created_at, id=rows[-1].id) if len(rows) == page.limit else None
    return PendingIds(order_ids=[row.id for row in rows], next=more)


class Openness(NamedTuple):
    """Whether an order may be processed, or is on hold until it may, and whether it then has goods but no method.

    `not_capturable`: it waits for its shop to capture the payment, because that is none that can be captured here.
    """

    is_open: bool
    lacks_method: bool
    not_capturable: bool = False


async def openness(tx: AsyncSession, order_id: str) -> Openness:
    """Return whether the order is open; an unknown one is not."""
    row = (await tx.execute(OPEN, {"order_id": order_id})).one_or_none()
    return Openness(*row) if row else Openness(is_open=False, lacks_method=False)


async def is_open(tx: AsyncSession, order_id: str) -> bool:
    """Return whether the order may be processed, or is on hold until it may."""
    return (await openness(tx, order_id)).is_open


async def set_unpaid_methods(tx: AsyncSession, methods: Sequence[str]) -> None:
    """Let orders of these payment methods be processed while they await payment, and no others."""
    await tx.execute(SET_UNPAID_METHODS, {"methods": [method.strip().lower() for method in methods]})


async def set_capturable(tx: AsyncSession, patterns: Sequence[str]) -> None:
    """Let orders be processed whose authorized payment has a reference of one of these patterns, and no others."""
    await tx.execute(SET_CAPTURABLE, {"patterns": [f"^(?:{pattern})$" for pattern in patterns]})
