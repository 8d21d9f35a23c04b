"""Check, reserve and release stock for orders.

The check and the reservation compute need and supply by the same SQL, so they always agree (I7). Every change locks the
order first and then all levels that it may touch, always in the same order of rows, so that no deadlock is possible
(I4). Only then it reads: under READ COMMITTED, a statement sees what was committed before it.
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

# `need`: units of each item that an order line needs. `supply`: units available per level, none if it is oversold (I9).
# `balance`: both per item, where `needed` is the need of all lines, and `firm` that of lines that cannot be
# backordered. Lines that can be backordered are served after all others and are never short (I5).
#
# PostgreSQL has no statistics about such intermediate results, nor good ones about tables that were empty a moment ago.
# Where it expects few rows, it compares each row with each: half a minute for 10,000 lines. So intermediate results are
# joined by FULL JOIN, which always hashes or sorts, in a MATERIALIZED query, so that no condition outside turns it into
# another kind of join. Tables are looked up by index for each row, in a subquery that OFFSET or an aggregate keeps from
# being turned into a join.
NEED_AND_SUPPLY = """
    WITH need AS MATERIALIZED (
        SELECT line.id AS order_line_id, line.position, line.quantity AS units, variant.id AS variant_id, variant.sku,
               variant.allow_backorder, part.inventory_item_id, part.required_quantity,
               CAST(line.quantity AS bigint) * part.required_quantity AS quantity
        FROM order_lines AS line
        JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
        LEFT JOIN variant_inventory_items AS part ON part.variant_id = variant.id
        WHERE line.order_id = :order_id AND line.quantity > 0
    ), supply AS MATERIALIZED (
        SELECT inventory_item_id, location_id, priority, available
        FROM (SELECT DISTINCT inventory_item_id FROM need) AS item, LATERAL (
            SELECT location_id, priority, CAST(greatest(stocked_quantity - reserved_quantity, 0) AS bigint) AS available
            FROM inventory_levels AS level JOIN locations AS location ON location.id = level.location_id
            WHERE level.inventory_item_id = item.inventory_item_id OFFSET 0) AS level
    ), balance AS MATERIALIZED (
        SELECT inventory_item_id, needed, firm, available
        FROM (SELECT inventory_item_id, sum(quantity) AS needed,
                     coalesce(sum(quantity) FILTER (WHERE NOT allow_backorder), 0) AS firm
              FROM need WHERE inventory_item_id IS NOT NULL GROUP BY inventory_item_id) AS needed
        FULL JOIN (SELECT inventory_item_id, sum(available) AS available
                   FROM supply GROUP BY inventory_item_id) AS supplied USING (inventory_item_id)
    )
"""
# The variants that cannot be reserved, and why. `available` counts each variant as if it were the only one.
SHORTAGES = text(f"""{NEED_AND_SUPPLY}, part AS MATERIALIZED (
        SELECT * FROM (
            SELECT variant_id, sku, allow_backorder, inventory_item_id, required_quantity, sum(units) AS requested
            FROM need GROUP BY variant_id, sku, allow_backorder, inventory_item_id, required_quantity) AS needed
        FULL JOIN balance USING (inventory_item_id)
    )
    SELECT variant_id, sku, CAST(requested AS bigint) AS requested,
           CAST(min(div(available, required_quantity)) AS bigint) AS available, count(*) OVER () AS short,
           bool_or(inventory_item_id IS NULL) AS without_items,
           min(inventory_item_id) FILTER (WHERE available IS NULL) AS not_stocked
    FROM part GROUP BY variant_id, sku, requested
    HAVING bool_or(available IS NULL OR (firm > available AND NOT allow_backorder))
    ORDER BY without_items DESC, not_stocked NULLS LAST, sku
    LIMIT {MAX_INSUFFICIENT_ITEMS}
""")  # noqa: S608 - our own constant
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
# `whole`: the location that can serve the whole order, at least all that cannot be backordered (I7).
# Per item, lines and shelves (levels with available units) are intervals of running sums on one axis. A line takes from
# the shelves that its interval overlaps. After the last shelf comes the one of the item's first location again, without
# limit: its units are backordered (I5).
RESERVE = text(f"""{NEED_AND_SUPPLY}, item_at AS MATERIALIZED (
        SELECT inventory_item_id, location_id, priority, needed, firm, supply.available
        FROM supply FULL JOIN balance USING (inventory_item_id)
    ), whole AS MATERIALIZED (
        SELECT location_id FROM item_at WHERE location_id IS NOT NULL
        GROUP BY location_id, priority
        HAVING count(*) FILTER (WHERE firm > 0 AND available >= firm)
               = (SELECT count(*) FROM balance WHERE firm > 0)
        ORDER BY count(*) FILTER (WHERE available >= needed) = (SELECT count(*) FROM balance) DESC, priority,
                 location_id
        LIMIT 1
    ), line AS (
        SELECT *, sum(quantity) OVER (PARTITION BY inventory_item_id ORDER BY allow_backorder, position) AS upto
        FROM need
    ), shelf AS (
        SELECT inventory_item_id, location_id, quantity, sum(quantity) OVER (
                   PARTITION BY inventory_item_id
                   ORDER BY backorder, location_id IS DISTINCT FROM (SELECT location_id FROM whole), priority,
                            location_id) AS upto
        FROM (SELECT inventory_item_id, location_id, priority, available AS quantity, false AS backorder FROM supply
              UNION ALL
              (SELECT DISTINCT ON (inventory_item_id) inventory_item_id, location_id, priority, 1e18, true
               FROM supply ORDER BY inventory_item_id, priority, location_id)) AS segment
        WHERE quantity > 0
    ), pair AS MATERIALIZED (
        SELECT order_line_id, inventory_item_id, location_id, allow_backorder,
               line.upto - line.quantity AS line_from, line.upto AS line_upto,
               shelf.upto - shelf.quantity AS shelf_from, shelf.upto AS shelf_upto
        FROM line FULL JOIN shelf USING (inventory_item_id)
    ), take AS (
        SELECT order_line_id, inventory_item_id, location_id, allow_backorder,
               sum(least(line_upto, shelf_upto) - greatest(line_from, shelf_from)) AS quantity
        FROM pair WHERE line_upto > shelf_from AND shelf_upto > line_from
          AND NOT EXISTS (SELECT FROM balance WHERE available IS NULL OR firm > available)
          AND NOT EXISTS (SELECT FROM reservations WHERE order_id = :order_id)
          AND NOT EXISTS (SELECT FROM fulfillments WHERE order_id = :order_id AND cancelled_at IS NULL)
        GROUP BY order_line_id, inventory_item_id, location_id, allow_backorder
    ), reserved AS (
        INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity, backorder)
        SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity, allow_backorder FROM take
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
           count(DISTINCT location_id) AS locations, EXISTS (SELECT FROM need) AS needed,
           (SELECT count(*) FROM total) = (SELECT count(*) FROM raised) AS all_raised
    FROM take
""")  # noqa: S608 - our own constant
# What the order has already: its reservations, or the units of its live fulfillments.
RESERVED = text("""
    SELECT count(*) AS reservations, CAST(coalesce(sum(quantity), 0) AS bigint) AS units,
           count(DISTINCT location_id) AS locations
    FROM (
        SELECT quantity, location_id FROM reservations WHERE order_id = :order_id
        UNION ALL
        SELECT quantity, location_id
        FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
        WHERE order_id = :order_id AND cancelled_at IS NULL) AS held
""")
RELEASE = text("""
    WITH released AS (
        DELETE FROM reservations WHERE order_id = :order_id RETURNING inventory_item_id, location_id, quantity
    )
    UPDATE inventory_levels AS level
    SET reserved_quantity = reserved_quantity - total.quantity,
        oversold = oversold AND stocked_quantity < reserved_quantity - total.quantity
    FROM (SELECT inventory_item_id, location_id, sum(quantity) AS quantity
          FROM released GROUP BY inventory_item_id, location_id) AS total
    WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
""")


async def check(tx: AsyncSession, order_id: str) -> None:
    """Raise the error that `reserve` would raise now, if any; none if the order has its units already.

    This neither writes nor locks.

    Raises VariantWithoutItems (I6), ItemNotStocked, or InsufficientInventory with whole units per variant, by SKU (I3).
    """
    rows = (await tx.execute(SHORTAGES, {"order_id": order_id})).all()
    if not rows or (await tx.execute(RESERVED, {"order_id": order_id})).one().reservations:
        return
    if rows[0].without_items:
        raise VariantWithoutItems(rows[0].variant_id)
    if rows[0].not_stocked is not None:
        raise ItemNotStocked(rows[0].not_stocked)
    raise insufficient(rows)


async def reserve(tx: AsyncSession, order_id: str) -> Reserved:
    """Reserve stock for all lines of the order or for none; return what it has already, reserved or fulfilled, if any.

    One location that has everything serves the whole order, otherwise locations are used by priority (I7). What a
    backorder needs beyond the stock is reserved at the item's first location (I5). The result counts units of inventory
    items. Raises what `check` raises, OrderNotFound, and TransientError if another order was served from a level that
    did not exist yet when this one locked its levels.
    """
    if not await orders.lock(tx, order_id):
        raise OrderNotFound(order_id)
    await tx.execute(LOCK_NEEDED, {"order_id": order_id})
    reserved = (await tx.execute(RESERVE, {"order_id": order_id})).one()
    if not reserved.all_raised:
        raise TransientError
    if reserved.reservations:
        return _reserved(reserved)
    earlier = (await tx.execute(RESERVED, {"order_id": order_id})).one()
    if reserved.needed and not earlier.reservations:
        await check(tx, order_id)
        raise TransientError
    return _reserved(earlier)


def _reserved(row: Row[Any]) -> Reserved:
    return Reserved(reservations=row.reservations, units=row.units, locations=row.locations)


async def release(tx: AsyncSession, order_id: str) -> None:
    """Release all reservations of the order."""
    await lock_reserved(tx, order_id)
    await tx.execute(RELEASE, {"order_id": order_id})


async def lock_reserved(tx: AsyncSession, order_id: str) -> bool:
    """Lock the order, then the levels of its reservations. Return False if there is no such order."""
    exists = await orders.lock(tx, order_id)
    await tx.execute(LOCK_RESERVED, {"order_id": order_id})
    return exists


def insufficient(rows: Sequence[Row[Any]]) -> InsufficientInventory:
    """Return the error for rows with variant_id, sku, requested and available; each has the full count as `short`."""
    items = [
        InsufficientItem(variant_id=row.variant_id, sku=row.sku, requested=row.requested, available=row.available)
        for row in rows
    ]
    return InsufficientInventory(items, rows[0].short)
