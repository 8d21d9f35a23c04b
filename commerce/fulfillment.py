"""Fulfillments: take an order's reserved goods off the shelves, and put them back.

An order has one fulfillment per location that its goods come from (V15). Its goods without stock go with the first one.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import inventory, orders
from commerce.errors import OrderNotFound, ReservationMissing
from commerce.messages.orders import MAX_INSUFFICIENT_ITEMS, CreatedFulfillment, FulfillmentPart

LIVE = text("""
    SELECT CAST(fulfillment.id AS text) AS id, CAST(coalesce(sum(item.quantity), 0) AS bigint) AS units
    FROM fulfillments AS fulfillment LEFT JOIN fulfillment_items AS item ON item.fulfillment_id = fulfillment.id
    WHERE order_id = :order_id AND cancelled_at IS NULL
    GROUP BY fulfillment.id ORDER BY position
""")
# The fulfillments with a line that requires shipping. The first of `ids` has the lines without items, too.
TO_SHIP = text("""
    SELECT DISTINCT CAST(fulfillment_id AS text) FROM (
        SELECT CASE WHEN fulfillment_id IS NOT NULL THEN fulfillment_id
                    WHEN count(fulfillment_id) OVER line = 0 THEN (CAST(:ids AS uuid[]))[1] END AS fulfillment_id,
               bool_or(requires_shipping) OVER line AS ships
        FROM (SELECT id AS order_line_id, requires_shipping, CAST(NULL AS uuid) AS fulfillment_id
              FROM order_lines WHERE order_id = :order_id AND quantity > 0
              UNION ALL
              SELECT order_line_id, NULL, fulfillment_id FROM fulfillment_items
              WHERE fulfillment_id = ANY(CAST(:ids AS uuid[]))) AS part
        WINDOW line AS (PARTITION BY order_line_id)
    ) AS part WHERE ships AND fulfillment_id IS NOT NULL
""")
# Sums of needs and reservations per line and item, instead of a join of both, which could compare each with each.
NOT_RESERVED = text("""
    SELECT EXISTS (
        SELECT FROM (
            SELECT line.id AS order_line_id, inventory_item_id,
                   CAST(line.quantity AS bigint) * coalesce(required_quantity, 1) AS quantity
            FROM order_lines AS line
            JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
            LEFT JOIN variant_inventory_items AS part ON part.variant_id = variant.id
            WHERE line.order_id = :order_id
            UNION ALL
            SELECT order_line_id, inventory_item_id, -quantity FROM reservations WHERE order_id = :order_id
        ) AS missing
        GROUP BY order_line_id, inventory_item_id HAVING sum(quantity) > 0)
""")
# Reservations can exceed stock: by a backorder (I5), or after a stock sync (I9). A backordered variant must leave the
# units that are reserved for other variants, which cannot be backordered. `on_hand` is what it may use. The joins are
# made as in `inventory.NEED_AND_SUPPLY`.
SHORT = text(f"""
    WITH needed AS MATERIALIZED (
        SELECT variant.id AS variant_id, variant.sku, allow_backorder, inventory_item_id, location_id,
               coalesce(required_quantity, 1) AS required_quantity, reserved.quantity, stocked_quantity
        FROM reservations AS reserved
        JOIN inventory_levels AS level USING (inventory_item_id, location_id)
        JOIN order_lines AS line ON line.id = reserved.order_line_id
        JOIN variants AS variant ON variant.id = line.variant_id
        LEFT JOIN variant_inventory_items AS part USING (variant_id, inventory_item_id)
        WHERE reserved.order_id = :order_id
    ), promised AS MATERIALIZED (
        SELECT inventory_item_id, location_id, (
            SELECT sum(reserved.quantity) FROM reservations AS reserved
            JOIN order_lines AS line ON line.id = reserved.order_line_id
            JOIN variants AS variant ON variant.id = line.variant_id AND NOT variant.allow_backorder
            WHERE reserved.inventory_item_id = level.inventory_item_id AND reserved.location_id = level.location_id
        ) AS promised
        FROM (SELECT DISTINCT inventory_item_id, location_id FROM needed WHERE allow_backorder) AS level
    ), supply AS MATERIALIZED (
        SELECT *, stocked_quantity - CASE WHEN allow_backorder THEN coalesce(promised, 0) ELSE 0 END AS on_hand,
               sum(quantity) OVER (PARTITION BY inventory_item_id, location_id, allow_backorder) AS needed_here
        FROM needed FULL JOIN promised USING (inventory_item_id, location_id)
    ), level AS (
        SELECT variant_id, sku, inventory_item_id, required_quantity, bool_or(needed_here > on_hand) AS short,
               least(sum(quantity), greatest(min(on_hand), 0)) AS available
        FROM supply GROUP BY variant_id, sku, inventory_item_id, location_id, required_quantity
    ), item AS (
        SELECT variant_id, sku, bool_or(short) AS short, div(sum(available), required_quantity) AS available
        FROM level GROUP BY variant_id, sku, inventory_item_id, required_quantity
    )
    SELECT variant_id, sku, CAST(min(available) AS bigint) AS available, count(*) OVER () AS short,
           (SELECT sum(quantity) FROM order_lines AS line
            WHERE line.order_id = :order_id AND line.variant_id = item.variant_id) AS requested
    FROM item GROUP BY variant_id, sku HAVING bool_or(short)
    ORDER BY sku LIMIT {MAX_INSUFFICIENT_ITEMS}
""")  # noqa: S608 - our own constant
TAKE = text("""
    WITH taken AS (
        DELETE FROM reservations WHERE order_id = :order_id
        RETURNING order_line_id, inventory_item_id, location_id, quantity
    ), place AS (
        SELECT location_id, row_number() OVER (ORDER BY priority, location_id) AS position
        FROM (SELECT DISTINCT location_id FROM taken) AS used JOIN locations ON locations.id = location_id
        WHERE CAST(:per_location AS boolean)
        UNION ALL
        SELECT CASE WHEN min(location_id) = max(location_id) THEN min(location_id) END, 1 FROM taken
        HAVING NOT CAST(:per_location AS boolean) OR count(*) = 0
    ), required AS (
        SELECT coalesce(sum(CAST(line.quantity AS bigint) * required_quantity), 0) AS units
        FROM order_lines AS line
        JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
        JOIN variant_inventory_items AS part ON part.variant_id = variant.id
        WHERE line.order_id = :order_id
    ), created AS (
        INSERT INTO fulfillments (order_id, from_location_id, position, required_units)
        SELECT :order_id, location_id, position, CASE position WHEN 1 THEN units ELSE 0 END FROM place, required
        RETURNING id, from_location_id, position
    ), item AS (
        SELECT created.id AS fulfillment_id, taken.*
        FROM taken JOIN created ON NOT CAST(:per_location AS boolean) OR from_location_id = taken.location_id
    ), items AS (
        INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT fulfillment_id, order_line_id, inventory_item_id, location_id, quantity FROM item
    ), total AS (
        SELECT fulfillment_id, inventory_item_id, location_id, sum(quantity) AS quantity
        FROM item GROUP BY fulfillment_id, inventory_item_id, location_id
    ), lowered AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity - total.quantity, reserved_quantity = reserved_quantity - total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, -quantity, 'fulfillment', CAST(fulfillment_id AS text),
               clock_timestamp()
        FROM total
    )
    SELECT CAST(id AS text) AS id,
           (SELECT CAST(coalesce(sum(quantity), 0) AS bigint) FROM total WHERE fulfillment_id = id) AS units
    FROM created ORDER BY position
""")
LOCK_FULFILLED = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels WHERE (inventory_item_id, location_id) IN (
            SELECT inventory_item_id, location_id FROM fulfillment_items
            WHERE fulfillment_id = ANY(CAST(:ids AS uuid[])))
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")
CANCEL = text("""
    WITH cancelled AS (
        UPDATE fulfillments SET cancelled_at = clock_timestamp()
        WHERE id = ANY(CAST(:ids AS uuid[])) AND order_id = :order_id AND cancelled_at IS NULL RETURNING id
    ), item AS (
        SELECT item.* FROM fulfillment_items AS item JOIN cancelled ON cancelled.id = item.fulfillment_id
    ), total AS (
        SELECT fulfillment_id, inventory_item_id, location_id, sum(quantity) AS quantity
        FROM item GROUP BY fulfillment_id, inventory_item_id, location_id
    ), raised AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity + total.quantity, reserved_quantity = reserved_quantity + total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'cancel', CAST(fulfillment_id AS text), clock_timestamp()
        FROM total
    )
    INSERT INTO reservations AS reserved (order_id, order_line_id, inventory_item_id, location_id, quantity, backorder)
    SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity, false FROM item
    ON CONFLICT (order_line_id, inventory_item_id, location_id)
    DO UPDATE SET quantity = reserved.quantity + excluded.quantity
""")


async def cancel_live(tx: AsyncSession, order_id: str) -> int:
    """Cancel all live fulfillments of an order, as `cancel` does, and return their units. The order must be locked."""
    live = (await tx.execute(LIVE, {"order_id": order_id})).all()
    if live:
        values = {"ids": [row.id for row in live], "order_id": order_id}
        await tx.execute(LOCK_FULFILLED, values)
        await tx.execute(CANCEL, values)
    return sum(int(row.units) for row in live)


async def create(tx: AsyncSession, order_id: str, *, per_location: bool = False) -> CreatedFulfillment:
    """Take the order's reserved units off the shelves, or return its live fulfillments with `created` false (V4).

    `per_location`: create one fulfillment for each location, otherwise one for all. The result counts units of
    inventory items. Raises OrderNotFound, ReservationMissing (V3), and InsufficientInventory if units are reserved that
    are not in stock (I5).
    """
    if not await inventory.lock_reserved(tx, order_id):
        raise OrderNotFound(order_id)
    if live := (await tx.execute(LIVE, {"order_id": order_id})).all():
        return await _created(tx, order_id, live, created=False)
    if await tx.scalar(NOT_RESERVED, {"order_id": order_id}):
        raise ReservationMissing(order_id)
    if short := (await tx.execute(SHORT, {"order_id": order_id})).all():
        raise inventory.insufficient(short)
    created = (await tx.execute(TAKE, {"order_id": order_id, "per_location": per_location})).all()
    return await _created(tx, order_id, created, created=True)


async def _created(tx: AsyncSession, order_id: str, rows: Sequence[Row[Any]], *, created: bool) -> CreatedFulfillment:
    parts = []
    if len(rows) > 1:
        ids = [row.id for row in rows]
        to_ship = set(await tx.scalars(TO_SHIP, {"order_id": order_id, "ids": ids}))
        parts = [FulfillmentPart(fulfillment_id=id_, needs_label=id_ in to_ship) for id_ in ids]
    units = sum(row.units for row in rows)
    return CreatedFulfillment(fulfillment_id=rows[0].id, units=units, created=created, parts=parts)


async def cancel(tx: AsyncSession, fulfillment: CreatedFulfillment, order_id: str) -> None:
    """Put the units back and reserve them for the order again.

    Does nothing if the fulfillment is cancelled already, or if `create` found it instead of creating it. It may be one
    of several: all are cancelled.
    """
    if not fulfillment.created:
        return
    ids = [part.fulfillment_id for part in fulfillment.parts] or [fulfillment.fulfillment_id]
    values = {"ids": ids, "order_id": order_id}
    await orders.lock(tx, order_id)
    await tx.execute(LOCK_FULFILLED, values)
    await tx.execute(CANCEL, values)
