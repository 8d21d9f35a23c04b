"""What returns put back into stock, and what the units that came back are worth (R3, R4). The order is locked."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.returns import ReturnRef

# Each unit of a line took the same units of items when it was fulfilled, whatever its variant needs now.
ITEMS = """
    SELECT part.order_line_id, inventory_item_id, CAST(sellable AS bigint) * (sent / line.quantity) AS quantity
    FROM order_return_lines AS part JOIN order_lines AS line ON line.id = part.order_line_id
    JOIN (SELECT order_line_id, inventory_item_id, sum(quantity) AS sent
          FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
          WHERE order_id = :order_id AND cancelled_at IS NULL
          GROUP BY order_line_id, inventory_item_id) AS item ON item.order_line_id = part.order_line_id
    WHERE return_id = :return_id AND sellable > 0
"""
CREATE_LEVELS = text(f"""
    INSERT INTO inventory_levels (inventory_item_id, location_id)
    SELECT DISTINCT inventory_item_id, :location_id FROM ({ITEMS}) AS item ORDER BY inventory_item_id
    ON CONFLICT DO NOTHING
""")  # noqa: S608 - our own constant
LOCK_LEVELS = text(f"""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels
        WHERE location_id = :location_id AND inventory_item_id IN (SELECT inventory_item_id FROM ({ITEMS}) AS item)
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")  # noqa: S608 - our own constant
RESTOCK = text(f"""
    WITH item AS (
        INSERT INTO order_return_items (return_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT :return_id, order_line_id, inventory_item_id, :location_id, quantity FROM ({ITEMS}) AS item
        RETURNING inventory_item_id, quantity
    ), total AS (
        SELECT inventory_item_id, sum(quantity) AS quantity FROM item GROUP BY inventory_item_id
    ), raised AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity + total.quantity,
            oversold = oversold AND stocked_quantity + total.quantity < reserved_quantity
        FROM total WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = :location_id
    )
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
    SELECT inventory_item_id, :location_id, quantity, 'returned', :return_id, clock_timestamp() FROM total
""")  # noqa: S608 - our own constant
# `goods`: what was paid for all lines, with their share of the order's discount and of the taxes. Each unit of a line
# has the same share, and the sum is rounded down, so all units together are worth exactly the goods. (6 digits undo the
# rounding of divisions.) The shipping costs are the rest of what was paid, apart from duties and tips. They come back
# once.
WORTH = text("""
    WITH line AS (
        SELECT CAST(unit_price AS numeric) * ordered - discount AS price, ordered, returned_quantity
        FROM (SELECT unit_price, discount, returned_quantity,
                     CAST(quantity AS bigint) + coalesce(refunded_quantity, 0) AS ordered
              FROM order_lines WHERE order_id = :order_id) AS line
        WHERE ordered > 0
    ), sums AS (
        SELECT sum(price) AS price, sum(price * returned_quantity / ordered) AS returned FROM line
    ), paid AS (
        SELECT greatest(total - duties_total - tip_total, 0) AS amount, shipping_total,
               greatest(sums.price - greatest(discount_total - (
                   SELECT sum(discount) FROM order_lines WHERE order_id = orders.id), 0), 0) AS goods,
               sums.returned, nullif(sums.price, 0) AS price
        FROM orders, sums WHERE id = :order_id
    ), parts AS (
        SELECT amount, floor(round(amount * goods / nullif(goods + shipping_total, 0), 6)) AS goods, returned, price
        FROM paid
    )
    SELECT CAST(floor(coalesce(round(least(greatest(goods * returned / price, 0), goods), 6), 0)) + CASE WHEN EXISTS (
                    SELECT FROM order_returns AS other
                    WHERE other.order_id = :order_id AND refund AND refund_shipping
                      AND (state IN ('received', 'completed') OR id = :return_id AND :received))
                THEN amount - coalesce(goods, 0) ELSE 0 END AS bigint)
    FROM parts
""")


async def restock(tx: AsyncSession, ref: ReturnRef, location_id: str | None) -> None:
    """Put the sellable units of a return on the shelves of a location; None: its lines need no stock."""
    if location_id is not None:
        values = ref.model_dump(include={"order_id", "return_id"}) | {"location_id": location_id}
        for statement in (CREATE_LEVELS, LOCK_LEVELS, RESTOCK):
            await tx.execute(statement, values)


async def worth(tx: AsyncSession, ref: ReturnRef, *, received: bool) -> int:
    """Return what all units that came back are worth, in minor units of the order's currency.

    `received`: count this return as received, whose shipping costs may come back with it.
    """
    values = ref.model_dump(include={"order_id", "return_id"}) | {"received": received}
    return int((await tx.execute(WORTH, values)).scalar_one())
