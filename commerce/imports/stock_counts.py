"""Set stock to what a shop has counted (I13, I14).

A count is taken from the shop's own books at a time T, which do not know all that we have shipped. Such units are
gone from the shelves and must not come back with the count:

- A count of units *on hand* includes the units of all orders that the shop shows as unfulfilled. Those that left
  after T are certainly among them. Those that left before T are among them as long as the shop has not been told; how
  many these are at most, the file itself says: its committed units, less those of orders that are still open here. The
  time of an export is not exact, but whatever it is, this number comes from the same moment as the count.
- A count of *available* units leaves out the orders that the shop knew at T, fulfilled or not. So it does not matter
  what the shop was told. What is on the shelves is these units and those of the same orders that are still open here,
  less those that have left for later orders.

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
# `left`: units of live fulfillments at counted levels; null as `fulfilled_at` means that the order is in process.
# `open`: units of orders that were open in the shop at T, as far as known here.
SET_TARGETS = text("""
    WITH counted AS MATERIALIZED (
        SELECT n, inventory_item_id, location_id, units, is_available, priority,
               sum(committed) OVER (PARTITION BY inventory_item_id) AS committed
        FROM staged_inventory JOIN locations ON locations.id = location_id WHERE is_counted
    ), item AS MATERIALIZED (
        SELECT inventory_item_id, coalesce(max(committed), 0) AS committed, bool_or(is_available) AS is_available
        FROM counted GROUP BY inventory_item_id
    ), shipped AS MATERIALIZED (
        SELECT inventory_item_id, location_id, part.quantity, fulfillment.id, orders.created_at AS ordered_at,
               CASE WHEN fulfillment_status = 'fulfilled' THEN coalesce(completed_at, fulfillment.created_at) END
               AS fulfilled_at
        FROM fulfillment_items AS part JOIN counted USING (inventory_item_id, location_id)
        JOIN fulfillments AS fulfillment ON fulfillment.id = part.fulfillment_id AND fulfillment.cancelled_at IS NULL
        JOIN orders ON orders.id = fulfillment.order_id
    ), open AS MATERIALIZED (
        SELECT part.inventory_item_id, orders.id AS order_id,
               sum(CAST(line.quantity AS bigint) * part.required_quantity) AS units,
               EXISTS (SELECT FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL) AS is_taken
        FROM item JOIN variant_inventory_items AS part USING (inventory_item_id)
        JOIN variants AS variant ON variant.id = part.variant_id AND variant.manage_inventory
        JOIN order_lines AS line ON line.variant_id = variant.id
        JOIN orders ON orders.id = line.order_id
        WHERE (item.committed > 0 OR is_available) AND orders.created_at <= :counted_at
          AND fulfillment_status = 'not_fulfilled' AND payment_status NOT IN ('cancelled', 'refunded')
          AND (orders.cancelled_at IS NULL OR orders.cancelled_at > :counted_at)
        GROUP BY part.inventory_item_id, orders.id
    ), still_shown AS (
        SELECT inventory_item_id, committed
               - coalesce((SELECT sum(units) FROM open WHERE open.inventory_item_id = item.inventory_item_id), 0)
               - coalesce((SELECT sum(quantity) FROM shipped
                           WHERE shipped.inventory_item_id = item.inventory_item_id AND ordered_at <= :counted_at
                             AND fulfilled_at > :counted_at), 0) AS units
        FROM item WHERE committed > 0
    ), perhaps_shown AS (
        SELECT inventory_item_id, location_id, quantity,
               sum(quantity) OVER (PARTITION BY inventory_item_id ORDER BY fulfilled_at DESC, id, location_id
                                   ROWS UNBOUNDED PRECEDING) AS upto
        FROM (SELECT inventory_item_id, location_id, id, fulfilled_at, sum(quantity) AS quantity FROM shipped
              WHERE fulfilled_at <= :counted_at GROUP BY inventory_item_id, location_id, id, fulfilled_at) AS earlier
    ), gone AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS units FROM (
            SELECT inventory_item_id, location_id, quantity FROM shipped
            WHERE fulfilled_at IS NULL OR fulfilled_at > :counted_at
            UNION ALL
            SELECT inventory_item_id, location_id, least(quantity, greatest(units - (upto - quantity), 0))
            FROM perhaps_shown JOIN still_shown USING (inventory_item_id)) AS part
        GROUP BY inventory_item_id, location_id
    ), gone_since AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS units
        FROM shipped WHERE ordered_at > :counted_at GROUP BY inventory_item_id, location_id
    ), held AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS units
        FROM reservations JOIN (SELECT DISTINCT inventory_item_id, order_id FROM open WHERE NOT is_taken) AS waiting
            USING (inventory_item_id, order_id)
        GROUP BY inventory_item_id, location_id
    ), unheld AS (
        SELECT DISTINCT ON (inventory_item_id) inventory_item_id, location_id,
               coalesce((SELECT sum(units) FROM open
                         WHERE open.inventory_item_id = counted.inventory_item_id AND NOT is_taken), 0)
               - coalesce((SELECT sum(units) FROM held
                           WHERE held.inventory_item_id = counted.inventory_item_id), 0) AS units
        FROM counted WHERE is_available ORDER BY inventory_item_id, priority, location_id
    )
    UPDATE staged_inventory AS staged
    SET target = CASE
            WHEN counted.is_available THEN counted.units + coalesce(held.units, 0) + coalesce(unheld.units, 0)
                                           - coalesce(gone_since.units, 0)
            ELSE greatest(counted.units, 0) - coalesce(gone.units, 0) END
    FROM counted
    LEFT JOIN gone USING (inventory_item_id, location_id)
    LEFT JOIN gone_since USING (inventory_item_id, location_id)
    LEFT JOIN held USING (inventory_item_id, location_id)
    LEFT JOIN unheld USING (inventory_item_id, location_id)
    WHERE counted.n = staged.n
""")
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
    await session.execute(SET_TARGETS, values)
    await session.execute(WARN_OF_NEGATIVES)
    await session.execute(SET_LEVELS, values | {"reference": reference})
