"""Set stock to what a shop has counted (I13, I14).

A count is taken from the shop's own books at a time T, which do not know all that we have shipped. Such units are
gone from the shelves and must not come back with the count:

- A count of units *on hand* includes the units of all orders that the shop shows as unfulfilled. Those that left
  after T are certainly among them. Those that left before T are among them until the shop learns of the shipment. The
  file itself limits how many these can be: its committed units, less those of orders that are still open here. The time
  of an export is not exact, but this number always comes from the same moment as the count.
- A count of *available* units leaves out the orders that the shop knew at T, fulfilled or not. So it does not matter
  which shipments the shop has learned of. What is on the shelves is these units and those of the same orders that are
  still open here, less those that have left for later orders.

An order that the shop itself has shipped in part is open with the rest of it. We do not ship that rest, but the shop
counts and commits its units as it does those of other open orders.

Units that a customer has returned since T are on the shelves again, and are added to both kinds of count.

Cancelled fulfillments count nowhere: only a completed one is final, and only these are exported, so the shop never knew
of the others, and their units never left. T, the times of orders and the times of fulfillments come from three clocks.
Only T is compared with the others: an error of T moves units of that span of time from one of these cases to the other.

All of this is read after the levels are locked. Goods move under the same locks, so each movement is either seen here
or changes the stock that is set here.
"""

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

FIND_LEVELS = text("""
    UPDATE staged_inventory AS staged SET inventory_item_id = inventory_items.id, location_id = locations.id
    FROM inventory_items, locations
    WHERE inventory_items.sku = staged.sku AND locations.name = staged.location
      AND NOT bad AND NOT superseded AND units IS NOT NULL
""")
CREATE_LEVELS = text("""
    INSERT INTO inventory_levels (inventory_item_id, location_id)
    SELECT inventory_item_id, location_id FROM staged_inventory WHERE inventory_item_id IS NOT NULL
    ORDER BY inventory_item_id, location_id
    ON CONFLICT DO NOTHING
""")
IS_NEW_COUNT = "(counted_at, imported_on_hand) IS DISTINCT FROM (CAST(:counted_at AS timestamptz), units)"
# In the same order as everywhere else, against deadlocks. Levels are read only after this: stock may have moved.
LOCK_LEVELS = text(f"""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels AS level JOIN staged_inventory USING (inventory_item_id, location_id)
        WHERE {IS_NEW_COUNT}
        ORDER BY inventory_item_id, location_id FOR UPDATE OF level) AS locked
""")  # noqa: S608 - our own constant
# A later count of the shop or of the warehouse stands.
FIND_COUNTS = text(f"""
    UPDATE staged_inventory AS staged
    SET is_counted = NOT is_outdated, warning = CASE WHEN is_outdated THEN
        'a later count of this SKU and location is known, which stays' ELSE warning END
    FROM (SELECT n, coalesce(counted_at > CAST(:counted_at AS timestamptz), false) OR EXISTS (
              SELECT FROM stock_movements AS moved
              WHERE moved.inventory_item_id = level.inventory_item_id AND moved.location_id = level.location_id
                AND reason = 'sync' AND created_at > CAST(:counted_at AS timestamptz)) AS is_outdated
          FROM staged_inventory JOIN inventory_levels AS level USING (inventory_item_id, location_id)
          WHERE {IS_NEW_COUNT}) AS found
    WHERE found.n = staged.n
""")  # noqa: S608 - our own constants
OPEN_AT_COUNT = """
    orders.created_at <= :counted_at
    AND orders.fulfillment_status IN ('not_fulfilled', 'scheduled', 'on_hold', 'partially_fulfilled')
    AND payment_status NOT IN ('cancelled', 'refunded')
    AND (orders.cancelled_at IS NULL OR orders.cancelled_at > :counted_at)
"""
# A line that the shop has still to ship. Of an order that it has shipped in part, these are the lines that it has not
# begun to ship, if it states at all which they are. What is left of a line that it has begun is not known.
IS_LEFT_TO_SHIP = """(
    orders.fulfillment_status <> 'partially_fulfilled'
    OR line.fulfillment_status = 'not_fulfilled' AND EXISTS (
        SELECT FROM order_lines AS begun
        WHERE begun.order_id = orders.id AND begun.fulfillment_status <> 'not_fulfilled')
)"""
# `shipped`: units of live fulfillments at counted levels; null as `fulfilled_at` means that the order is in process.
# `opened`: units of orders that were open in the shop at T, as far as known here. `balance`: per item, the units
# shipped before T that the shop still shows, and those of open orders that are not reserved yet. `change`: per level,
# the units that are gone if it counts what is on hand, and those to add if it counts what is available.
#
# PostgreSQL has no statistics about such intermediate results, so they are added up instead of joined, or joined by
# FULL JOIN, which always hashes or sorts (see `inventory.py`).
SET_TARGETS = text(f"""
    WITH counted AS MATERIALIZED (
        SELECT inventory_item_id, location_id, is_available, priority,
               coalesce(sum(committed) OVER (PARTITION BY inventory_item_id), 0) AS committed,
               row_number() OVER (PARTITION BY inventory_item_id, is_available ORDER BY priority, location_id) AS place
        FROM staged_inventory JOIN locations ON locations.id = location_id WHERE is_counted
    ), shipped AS MATERIALIZED (
        SELECT inventory_item_id, location_id, part.quantity, fulfillment.id, orders.created_at AS ordered_at,
               CASE WHEN orders.fulfillment_status = 'fulfilled' THEN coalesce(completed_at, fulfillment.created_at) END
               AS fulfilled_at
        FROM counted JOIN fulfillment_items AS part USING (inventory_item_id, location_id)
        JOIN fulfillments AS fulfillment ON fulfillment.id = part.fulfillment_id AND fulfillment.cancelled_at IS NULL
        JOIN orders ON orders.id = fulfillment.order_id
    ), opened AS MATERIALIZED (
        SELECT part.inventory_item_id, CAST(line.quantity AS bigint) * part.required_quantity AS units,
               EXISTS (SELECT FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL) AS is_taken
        FROM (SELECT DISTINCT inventory_item_id FROM counted WHERE committed > 0 OR is_available) AS item
        JOIN variant_inventory_items AS part USING (inventory_item_id)
        JOIN variants AS variant ON variant.id = part.variant_id AND variant.manage_inventory
        JOIN order_lines AS line ON line.variant_id = variant.id
        JOIN orders ON orders.id = line.order_id
        WHERE {OPEN_AT_COUNT} AND {IS_LEFT_TO_SHIP}
    ), held AS MATERIALIZED (
        SELECT inventory_item_id, location_id, quantity
        FROM counted JOIN reservations USING (inventory_item_id, location_id) JOIN orders ON orders.id = order_id
        WHERE is_available AND {OPEN_AT_COUNT}
    ), held_anywhere AS (
        SELECT inventory_item_id, quantity
        FROM (SELECT inventory_item_id FROM counted WHERE is_available AND place = 1) AS item
        JOIN reservations USING (inventory_item_id) JOIN orders ON orders.id = order_id
        WHERE {OPEN_AT_COUNT}
    ), balance AS MATERIALIZED (
        SELECT inventory_item_id, sum(shown) AS shown, sum(unheld) AS unheld FROM (
            SELECT inventory_item_id, max(committed) AS shown, 0 AS unheld FROM counted GROUP BY inventory_item_id
            UNION ALL
            SELECT inventory_item_id, -units, CASE WHEN is_taken THEN 0 ELSE units END FROM opened
            UNION ALL
            SELECT inventory_item_id, -quantity, 0 FROM shipped
            WHERE ordered_at <= :counted_at AND fulfilled_at > :counted_at
            UNION ALL
            SELECT inventory_item_id, 0, -quantity FROM held_anywhere) AS part
        GROUP BY inventory_item_id
    ), earlier AS MATERIALIZED (
        SELECT inventory_item_id, location_id, quantity, upto, shown
        FROM (SELECT inventory_item_id, location_id, quantity,
                     sum(quantity) OVER (PARTITION BY inventory_item_id ORDER BY fulfilled_at DESC, id, location_id
                                         ROWS UNBOUNDED PRECEDING) AS upto
              FROM shipped WHERE fulfilled_at <= :counted_at) AS shipped_before
        FULL JOIN balance USING (inventory_item_id)
    ), unheld AS MATERIALIZED (
        SELECT inventory_item_id, location_id, unheld AS units
        FROM (SELECT inventory_item_id, location_id FROM counted WHERE is_available AND place = 1) AS first
        FULL JOIN balance USING (inventory_item_id)
    ), change AS MATERIALIZED (
        SELECT inventory_item_id, location_id, sum(gone) AS gone, sum(added) AS added FROM (
            SELECT inventory_item_id, location_id, 0 AS gone, 0 AS added FROM counted
            UNION ALL
            SELECT inventory_item_id, location_id,
                   CASE WHEN fulfilled_at <= :counted_at THEN 0 ELSE quantity END,
                   CASE WHEN ordered_at <= :counted_at THEN 0 ELSE -quantity END FROM shipped
            UNION ALL
            SELECT inventory_item_id, location_id, -moved.quantity, moved.quantity
            FROM counted JOIN stock_movements AS moved USING (inventory_item_id, location_id)
            WHERE reason = 'returned' AND moved.created_at > :counted_at
            UNION ALL
            SELECT inventory_item_id, location_id, least(quantity, greatest(shown - (upto - quantity), 0)), 0
            FROM earlier WHERE location_id IS NOT NULL
            UNION ALL
            SELECT inventory_item_id, location_id, 0, quantity FROM held
            UNION ALL
            SELECT inventory_item_id, location_id, 0, units FROM unheld WHERE location_id IS NOT NULL) AS part
        GROUP BY inventory_item_id, location_id
    )
    UPDATE staged_inventory AS staged
    SET target = CASE WHEN is_available THEN units + added ELSE greatest(units, 0) - gone END
    FROM change
    WHERE staged.inventory_item_id = change.inventory_item_id AND staged.location_id = change.location_id
      AND is_counted
""")  # noqa: S608 - our own constant
ANALYZE = text("ANALYZE staged_inventory")
WARN_OF_NEGATIVES = text("""
    UPDATE staged_inventory SET warning = CASE
        WHEN units < 0 THEN 'fewer than 0 units are counted; the stock is set to 0'
        ELSE 'more units have been shipped since than are counted; the stock is set to 0' END
    WHERE is_counted AND (target < 0 OR units < 0 AND NOT is_available)
""")
# clock_timestamp(), not the start of this long transaction: the stock sync compares it with the time of a count (J6).
SET_LEVELS = text("""
    WITH written AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = least(greatest(target, 0), 2147483647), imported_on_hand = units,
            counted_at = :counted_at, oversold = least(greatest(target, 0), 2147483647) < reserved_quantity
        FROM staged_inventory AS staged
        WHERE level.inventory_item_id = staged.inventory_item_id AND level.location_id = staged.location_id
          AND is_counted
        RETURNING n, level.inventory_item_id, level.location_id, new.stocked_quantity - old.stocked_quantity AS quantity
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'import', :reference, clock_timestamp()
        FROM written WHERE quantity <> 0
    )
    UPDATE staged_inventory AS staged SET changed = true FROM written WHERE written.n = staged.n
""")


async def set_levels(session: AsyncSession, counted_at: datetime, reference: str) -> None:
    """Set the levels that are staged, unless the same count or a later one is known; leave warnings in the staged rows.

    `reference` identifies the file in the movements.
    """
    values = {"counted_at": counted_at}
    await session.execute(FIND_LEVELS)
    await session.execute(CREATE_LEVELS)
    await session.execute(LOCK_LEVELS, values)
    await session.execute(FIND_COUNTS, values)
    await session.execute(ANALYZE)
    await session.execute(SET_TARGETS, values)
    await session.execute(WARN_OF_NEGATIVES)
    await session.execute(SET_LEVELS, values | {"reference": reference})
