"""Stock held for orders: the check and the reservation share one reckoning of need and supply, so they always agree.

Every change first locks the order, then all levels it may touch in one order of rows (no deadlocks), and only then
reads: under READ COMMITTED the next statement sees what others have committed meanwhile.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders
from commerce.errors import (
    InsufficientInventory,
    ItemNotStocked,
    OrderNotFound,
    TransientError,
    VariantWithoutItems,
)
from commerce.messages.orders import MAX_INSUFFICIENT_ITEMS, InsufficientItem, Reserved

# Item units needed per order line, units free per level, and both per item. An oversold level (I9) has nothing free;
# `firm` is what must be there now: lines that may be backordered are served after all others and never short (I5).
RECKONING = """
    WITH need AS (
        SELECT line.id AS order_line_id, line.position, line.quantity AS units, variant.id AS variant_id, variant.sku,
               variant.allow_backorder, part.inventory_item_id, part.required_quantity,
               CAST(line.quantity AS bigint) * part.required_quantity AS quantity
        FROM order_lines AS line
        JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
        LEFT JOIN variant_inventory_items AS part ON part.variant_id = variant.id
        WHERE line.order_id = :order_id
    ), supply AS (
        SELECT level.inventory_item_id, level.location_id, location.priority,
               CAST(greatest(stocked_quantity - reserved_quantity, 0) AS bigint) AS available
        FROM inventory_levels AS level JOIN locations AS location ON location.id = level.location_id
        WHERE level.inventory_item_id IN (SELECT inventory_item_id FROM need)
    ), balance AS (
        SELECT inventory_item_id, firm, available
        FROM (SELECT inventory_item_id, coalesce(sum(quantity) FILTER (WHERE NOT allow_backorder), 0) AS firm
              FROM need GROUP BY inventory_item_id) AS wanted
        LEFT JOIN (SELECT inventory_item_id, sum(available) AS available
                   FROM supply GROUP BY inventory_item_id) AS free USING (inventory_item_id)
    )
"""
# What stands in the way, per variant; `available` counts each variant alone, as if it had all free stock to itself.
PROBLEMS = text(f"""{RECKONING}
    SELECT variant_id, sku, CAST(requested AS bigint) AS requested,
           CAST(min(div(available, required_quantity)) AS bigint) AS available, count(*) OVER () AS short,
           bool_or(inventory_item_id IS NULL) AS without_items,
           min(inventory_item_id) FILTER (WHERE available IS NULL) AS not_stocked
    FROM (SELECT variant_id, sku, allow_backorder, inventory_item_id, required_quantity, sum(units) AS requested
          FROM need GROUP BY variant_id, sku, allow_backorder, inventory_item_id, required_quantity) AS part
    LEFT JOIN balance USING (inventory_item_id)
    GROUP BY variant_id, sku, requested
    HAVING bool_or(available IS NULL OR (firm > available AND NOT allow_backorder))
    ORDER BY without_items DESC, not_stocked NULLS LAST, sku
    LIMIT {MAX_INSUFFICIENT_ITEMS}
""")  # noqa: S608 - our own constants
LOCK_NEEDED = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels WHERE inventory_item_id IN (
            SELECT inventory_item_id FROM order_lines JOIN variant_inventory_items USING (variant_id)
            WHERE order_id = :order_id)
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")
LOCK_RESERVED = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels WHERE (inventory_item_id, location_id) IN (
            SELECT inventory_item_id, location_id FROM reservations WHERE order_id = :order_id)
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")
# Lines and shelves are laid along one axis per item, as intervals of running sums; where a line and a shelf overlap,
# there it takes from. Beyond the last shelf lies the first one again without end: what is backordered (I5, I7).
RESERVE = text(f"""{RECKONING}, line AS (
        SELECT *, sum(quantity) OVER (PARTITION BY inventory_item_id ORDER BY allow_backorder, position) AS upto
        FROM need
    ), shelf AS (
        SELECT inventory_item_id, location_id, quantity, sum(quantity) OVER (
                   PARTITION BY inventory_item_id ORDER BY backorder, priority, location_id) AS upto
        FROM (SELECT inventory_item_id, location_id, priority, available AS quantity, false AS backorder FROM supply
              UNION ALL
              (SELECT DISTINCT ON (inventory_item_id) inventory_item_id, location_id, priority, 1e18, true
               FROM supply ORDER BY inventory_item_id, priority, location_id)) AS stretch
        WHERE quantity > 0
    ), take AS (
        SELECT order_line_id, inventory_item_id, location_id, allow_backorder,
               sum(least(line.upto, shelf.upto)
                   - greatest(line.upto - line.quantity, shelf.upto - shelf.quantity)) AS quantity
        FROM line JOIN shelf USING (inventory_item_id)
        WHERE line.upto > shelf.upto - shelf.quantity AND shelf.upto > line.upto - line.quantity
          AND NOT EXISTS (SELECT FROM balance WHERE available IS NULL OR firm > available)
          AND NOT EXISTS (SELECT FROM reservations WHERE order_id = :order_id)
        GROUP BY order_line_id, inventory_item_id, location_id, allow_backorder
    ), held AS (
        INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity FROM take
    ), total AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS quantity,
               coalesce(sum(quantity) FILTER (WHERE NOT allow_backorder), 0) AS firm
        FROM take GROUP BY inventory_item_id, location_id
    ), raised AS (
        UPDATE inventory_levels AS level SET reserved_quantity = reserved_quantity + total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
          AND (firm = 0 OR stocked_quantity - reserved_quantity >= firm)
        RETURNING 1
    )
    SELECT count(*) AS reservations, CAST(coalesce(sum(quantity), 0) AS bigint) AS units,
           EXISTS (SELECT FROM need) AS needed,
           (SELECT count(*) FROM total) = (SELECT count(*) FROM raised) AS won
    FROM take
""")  # noqa: S608 - our own constants
HELD = text("""
    SELECT count(*) AS reservations, coalesce(sum(quantity), 0) AS units FROM reservations WHERE order_id = :order_id
""")
RELEASE = text("""
    WITH gone AS (
        DELETE FROM reservations WHERE order_id = :order_id RETURNING inventory_item_id, location_id, quantity
    )
    UPDATE inventory_levels AS level
    SET reserved_quantity = reserved_quantity - total.quantity,
        oversold = oversold AND stocked_quantity < reserved_quantity - total.quantity
    FROM (SELECT inventory_item_id, location_id, sum(quantity) AS quantity
          FROM gone GROUP BY inventory_item_id, location_id) AS total
    WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
""")


async def check(tx: AsyncSession, order_id: str) -> None:
    """Raise what `reserve` would raise now; an order that needs no stock passes. Writes and locks nothing.

    Raises VariantWithoutItems (I6), ItemNotStocked, InsufficientInventory (I3) with whole units per variant, by SKU.
    """
    rows = (await tx.execute(PROBLEMS, {"order_id": order_id})).all()
    if not rows:
        return
    if rows[0].without_items:
        raise VariantWithoutItems(rows[0].variant_id)
    if rows[0].not_stocked is not None:
        raise ItemNotStocked(rows[0].not_stocked)
    raise insufficient(rows)


async def reserve(tx: AsyncSession, order_id: str) -> Reserved:
    """Hold every line of the order, or none; an order that holds reservations already gets those counted again.

    Free stock is taken by priority of location; a backorder's excess goes to the item's first location. Units are
    those of inventory items. Raises what `check` raises, OrderNotFound, and TransientError when a level that came
    into being meanwhile was served to somebody else.
    """
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    await tx.execute(LOCK_NEEDED, {"order_id": order_id})
    took = (await tx.execute(RESERVE, {"order_id": order_id})).one()
    if not took.won:
        raise TransientError
    if took.reservations:
        return Reserved(reservations=took.reservations, units=took.units)
    held = (await tx.execute(HELD, {"order_id": order_id})).one()
    if took.needed and not held.reservations:
        await check(tx, order_id)
        raise TransientError
    return Reserved(reservations=held.reservations, units=held.units)


async def release(tx: AsyncSession, order_id: str) -> None:
    """Give back all that is held for the order; nothing held, nothing done."""
    await lock_reserved(tx, order_id)
    await tx.execute(RELEASE, {"order_id": order_id})


async def lock_reserved(tx: AsyncSession, order_id: str) -> bool:
    """Lock the order, then the levels that hold its reservations; False: there is no such order."""
    known = await orders.lock(tx, order_id)
    await tx.execute(LOCK_RESERVED, {"order_id": order_id})
    return known


def insufficient(rows: Sequence[Row[Any]]) -> InsufficientInventory:
    """Make the error of rows with variant_id, sku, requested, available, and in each the full count as `short`."""
    items = [
        InsufficientItem(variant_id=row.variant_id, sku=row.sku, requested=row.requested, available=row.available)
        for row in rows
    ]
    return InsufficientInventory(items, rows[0].short)
