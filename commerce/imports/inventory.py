"""Import the inventory export of a shop admin: products, variants, and stock by location."""

from collections.abc import Iterable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.imports import staging
from commerce.imports.csv_rows import Row, open_rows
from commerce.imports.inventory_rows import COLUMNS, NewLevel, parse_level
from commerce.imports.report import Tally
from commerce.imports.staging import StagingTables

# bad: not imported. reason: why, until it is reported. changed: the row changed something. Later statements fill in the
# two ids.
STAGED_INVENTORY = """
    CREATE TEMPORARY TABLE staged_inventory (
        line int, handle text, title text, sku text, location text, on_hand int, manage_inventory boolean,
        allow_backorder boolean, bad boolean DEFAULT false, reason text, changed boolean DEFAULT false,
        inventory_item_id text, location_id text
    ) ON COMMIT DROP
"""
FIND_BAD = text("""
    WITH seen AS (
        SELECT line, min(line) OVER (PARTITION BY sku, location) AS first_line,
               handle <> coalesce(product_id, first_value(handle) OVER (PARTITION BY sku ORDER BY line)) AS moved
        FROM staged_inventory LEFT JOIN variants USING (sku)
    )
    UPDATE staged_inventory AS staged
    SET bad = true,
        reason = CASE WHEN moved THEN 'Handle: the SKU belongs to another product'
                      ELSE 'SKU: already on line ' || first_line || ' for the same location' END
    FROM seen WHERE seen.line = staged.line AND (moved OR seen.line > first_line)
""")
WRITE_LOCATIONS = text("""
    INSERT INTO locations (id, name, priority)
    SELECT location, location,
           (SELECT coalesce(max(priority) + 1, 0) FROM locations) + row_number() OVER (ORDER BY min(line)) - 1
    FROM staged_inventory AS staged
    WHERE NOT bad AND NOT EXISTS (SELECT FROM locations WHERE name = staged.location)
    GROUP BY location
""")
WRITE_PRODUCTS = text("""
    WITH first AS (
        SELECT DISTINCT ON (handle) handle, title, line FROM staged_inventory WHERE NOT bad ORDER BY handle, line
    ), written AS (
        INSERT INTO products (id, title) SELECT handle, title FROM first ORDER BY line
        ON CONFLICT (id) DO UPDATE SET title = excluded.title WHERE products.title <> excluded.title
        RETURNING id
    )
    UPDATE staged_inventory AS staged SET changed = true
    FROM first JOIN written ON written.id = first.handle WHERE first.line = staged.line
""")
WRITE_VARIANTS = text("""
    WITH first AS (
        SELECT DISTINCT ON (sku) sku, handle, line,
               coalesce(staged.manage_inventory, known.manage_inventory, true) AS manage_inventory,
               coalesce(staged.allow_backorder, known.allow_backorder, false) AS allow_backorder
        FROM staged_inventory AS staged LEFT JOIN variants AS known USING (sku) WHERE NOT bad ORDER BY sku, line
    ), written AS (
        INSERT INTO variants (id, sku, product_id, manage_inventory, allow_backorder)
        SELECT sku, sku, handle, manage_inventory, allow_backorder FROM first ORDER BY line
        ON CONFLICT (sku) DO UPDATE
        SET manage_inventory = excluded.manage_inventory, allow_backorder = excluded.allow_backorder
        WHERE (variants.manage_inventory, variants.allow_backorder)
              <> (excluded.manage_inventory, excluded.allow_backorder)
        RETURNING sku
    )
    UPDATE staged_inventory AS staged SET changed = true
    FROM first JOIN written ON written.sku = first.sku WHERE first.line = staged.line
""")
WRITE_ITEMS = text("""
    INSERT INTO inventory_items (id, sku) SELECT DISTINCT sku, sku FROM staged_inventory WHERE NOT bad ORDER BY 1
    ON CONFLICT (sku) DO NOTHING
""")
# A variant that already has items (a kit) keeps them.
WRITE_PARTS = text("""
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id, required_quantity)
    SELECT DISTINCT variants.id, inventory_items.id, 1
    FROM staged_inventory JOIN variants USING (sku) JOIN inventory_items USING (sku)
    WHERE NOT bad AND NOT EXISTS (SELECT FROM variant_inventory_items WHERE variant_id = variants.id)
""")
LINK_LINES = text("""
    UPDATE order_lines AS line SET variant_id = variants.id
    FROM variants WHERE line.variant_id IS NULL AND line.sku = variants.sku
""")
FIND_LEVELS = text("""
    UPDATE staged_inventory AS staged SET inventory_item_id = inventory_items.id, location_id = locations.id
    FROM inventory_items, locations
    WHERE inventory_items.sku = staged.sku AND locations.name = staged.location AND NOT bad AND on_hand IS NOT NULL
""")
WRITE_LEVELS = text("""
    INSERT INTO inventory_levels (inventory_item_id, location_id)
    SELECT inventory_item_id, location_id FROM staged_inventory WHERE inventory_item_id IS NOT NULL
    ORDER BY inventory_item_id, location_id
    ON CONFLICT DO NOTHING
""")
# In the same order as everywhere else, against deadlocks. Levels are read only after this: stock may have moved.
LOCK_LEVELS = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels AS level JOIN staged_inventory USING (inventory_item_id, location_id)
        WHERE imported_on_hand IS DISTINCT FROM on_hand
        ORDER BY inventory_item_id, location_id FOR UPDATE OF level) AS locked
""")
# clock_timestamp(), not the start of this long transaction: the stock sync compares it with the time of a count (J6).
SET_LEVELS = text("""
    WITH written AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = on_hand, imported_on_hand = on_hand, oversold = on_hand < reserved_quantity
        FROM staged_inventory AS staged
        WHERE level.inventory_item_id = staged.inventory_item_id AND level.location_id = staged.location_id
          AND imported_on_hand IS DISTINCT FROM on_hand
        RETURNING line, level.inventory_item_id, level.location_id,
                  new.stocked_quantity - old.stocked_quantity AS quantity
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'import', :reference, clock_timestamp()
        FROM written WHERE quantity <> 0
    )
    UPDATE staged_inventory AS staged SET changed = true FROM written WHERE written.line = staged.line
""")
WRITTEN_TABLES = (
    *("products", "variants", "inventory_items", "variant_inventory_items", "locations", "inventory_levels"),
    *("stock_movements", "order_lines"),
)
COUNT = text("""
    SELECT count(*) FILTER (WHERE changed) AS taken, count(*) FILTER (WHERE NOT changed AND NOT bad) AS unchanged
    FROM staged_inventory
""")


async def import_file(session: AsyncSession, file: Path, tally: Tally) -> None:
    """Import one file within this transaction."""
    await staging.create_tables(session, STAGED_INVENTORY)
    with open_rows(file, COLUMNS) as rows:
        await _stage(session, tally.count(rows), tally)
    await session.execute(staging.LOCK)
    await session.execute(FIND_BAD)
    await staging.collect_bad_rows(session, "staged_inventory", tally)
    if tally.rejected:
        await session.rollback()
        return
    await _write(session, file.name)
    tally.taken, tally.unchanged = (await session.execute(COUNT)).one()
    await staging.analyze(session, tally, *WRITTEN_TABLES)


async def _stage(session: AsyncSession, rows: Iterable[Row], tally: Tally) -> None:
    tables = StagingTables(session, {"staged_inventory": NewLevel._fields})
    for row in rows:
        level = None if row.problems else parse_level(row)
        if level is None or row.problems:
            tally.add_bad_row(row.line, row.reason())
        else:
            await tables.add("staged_inventory", level)
    await tables.flush()


async def _write(session: AsyncSession, reference: str) -> None:
    catalogue = (WRITE_LOCATIONS, WRITE_PRODUCTS, WRITE_VARIANTS, WRITE_ITEMS, WRITE_PARTS)
    for statement in (*catalogue, LINK_LINES, FIND_LEVELS, WRITE_LEVELS, LOCK_LEVELS):
        await session.execute(statement)
    await session.execute(SET_LEVELS, {"reference": reference})
