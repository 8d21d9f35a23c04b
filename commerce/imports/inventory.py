"""Import the inventory export of a shop admin: products, variants, and stock by location."""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import listings
from commerce.imports import staging, stock_counts
from commerce.imports.csv_rows import Row, open_rows
from commerce.imports.inventory_rows import COLUMNS, LevelReader, NewLevel, has_options
from commerce.imports.report import Tally
from commerce.imports.staging import StagingTables

ONLY_LOCATION = "Main"  # if neither the file nor the shop names one

# bad: not imported. reason: why, until it is reported. superseded: a later row has the level. is_counted: the row's
# count is set. target: the stock to set. warning: what is odd about a row that is imported. changed: the row changed
# something. Later statements fill in the two ids.
STAGED_INVENTORY = """
    CREATE TEMPORARY TABLE staged_inventory (
        n int GENERATED ALWAYS AS IDENTITY, line int, handle text, has_handle boolean, title text, options text,
        sku text, has_sku boolean, key text, location text, units int, is_available boolean, committed int,
        is_empty boolean, manage_inventory boolean, allow_backorder boolean,
        bad boolean DEFAULT false, reason text, superseded boolean DEFAULT false, is_counted boolean DEFAULT false,
        target bigint, warning text, changed boolean DEFAULT false, inventory_item_id text, location_id text
    ) ON COMMIT DROP
"""
# Rows without a location are about the only one there is.
FILL_LOCATION = text("""
    UPDATE staged_inventory SET location = only_one.name
    FROM (SELECT coalesce(min(name), :only_location) AS name
          FROM (SELECT name FROM locations UNION SELECT location FROM staged_inventory WHERE location <> '') AS known
          HAVING count(*) <= 1) AS only_one
    WHERE location = '' AND units IS NOT NULL
""")
FILL_HANDLE = text("""
    UPDATE staged_inventory AS staged SET handle = product_id
    FROM variants WHERE variants.sku = staged.sku AND has_sku AND NOT has_handle
""")
# A row without a SKU is about the variant that is sold with this handle and these options.
FILL_SKU = text("""
    UPDATE staged_inventory AS staged SET sku = found.sku, bad = found.is_ambiguous, reason = CASE
        WHEN found.is_ambiguous THEN 'SKU: must not be empty, since several variants have this handle and options' END
    FROM (SELECT listing.product_id, options, min(sku) AS sku, count(*) > 1 AS is_ambiguous
          FROM listings AS listing JOIN variants ON variants.id = variant_id
          GROUP BY listing.product_id, options) AS found
    WHERE found.product_id = handle AND found.options = staged.options AND NOT has_sku
""")
# A variant that had no SKU gets its first one.
RENAME = text("""
    WITH renamed AS (
        SELECT DISTINCT ON (new_sku) id, old_sku, new_sku FROM (
            SELECT DISTINCT ON (variants.id) variants.id, variants.sku AS old_sku, staged.sku AS new_sku
            FROM staged_inventory AS staged JOIN variants ON variants.sku = staged.key
            WHERE has_sku AND NOT EXISTS (SELECT FROM variants AS known WHERE known.sku = staged.sku)
              AND NOT EXISTS (SELECT FROM inventory_items AS known WHERE known.sku = staged.sku)
            ORDER BY variants.id, n) AS found
        ORDER BY new_sku, id
    ), items AS (
        UPDATE inventory_items AS item SET sku = new_sku FROM renamed WHERE item.sku = old_sku
    )
    UPDATE variants SET sku = new_sku FROM renamed WHERE variants.id = renamed.id
""")
FIND_BAD = text("""
    UPDATE staged_inventory SET bad = true, reason = 'Location: must not be empty, since the shop has several'
    WHERE location = '' AND units IS NOT NULL AND NOT bad
""")
FIND_SUPERSEDED = text("""
    UPDATE staged_inventory AS staged
    SET superseded = true, warning = CASE WHEN (staged.units, staged.is_available) <> (last.units, last.is_available)
        THEN 'SKU: line ' || last.line || ' has another count for the same location, which is used' END
    FROM (SELECT n, last_value(n) OVER later AS last_n
          FROM staged_inventory WHERE NOT bad AND units IS NOT NULL
          WINDOW later AS (PARTITION BY sku, location ORDER BY n
                           ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)) AS found
    JOIN staged_inventory AS last ON last.n = last_n
    WHERE found.n = staged.n AND last_n <> found.n
""")
WRITE_LOCATIONS = text("""
    INSERT INTO locations (id, name, priority)
    SELECT location, location,
           (SELECT coalesce(max(priority) + 1, 0) FROM locations) + row_number() OVER (ORDER BY min(n)) - 1
    FROM staged_inventory AS staged
    WHERE NOT bad AND location <> '' AND NOT EXISTS (SELECT FROM locations WHERE name = staged.location)
    GROUP BY location
""")
WRITE_PRODUCTS = text("""
    WITH first AS (
        SELECT DISTINCT ON (handle) handle, title, n FROM staged_inventory
        WHERE NOT bad ORDER BY handle, title = '', n
    ), written AS (
        INSERT INTO products (id, title) SELECT handle, coalesce(nullif(title, ''), handle) FROM first ORDER BY n
        ON CONFLICT (id) DO UPDATE SET title = excluded.title
        WHERE products.title <> excluded.title AND EXISTS (
            SELECT FROM first WHERE first.handle = excluded.id AND first.title <> '')
        RETURNING id
    )
    UPDATE staged_inventory AS staged SET changed = true
    FROM first JOIN written ON written.id = first.handle WHERE first.n = staged.n
""")
# If the file does not say whether stock is tracked: a new variant is tracked if it has a count or a `not stocked`, and
# one that was not tracked is from its first count on.
WRITE_VARIANTS = text("""
    WITH first AS (
        SELECT DISTINCT ON (sku) sku, handle, n,
               coalesce(staged.manage_inventory, CASE
                   WHEN known.id IS NULL THEN NOT bool_and(is_empty) OVER by_sku
                   WHEN known.manage_inventory THEN true
                   ELSE bool_or(units IS NOT NULL) OVER by_sku AND NOT EXISTS (
                       SELECT FROM variant_inventory_items AS part JOIN inventory_levels USING (inventory_item_id)
                       WHERE part.variant_id = known.id) END) AS manage_inventory,
               coalesce(staged.allow_backorder, known.allow_backorder, false) AS allow_backorder
        FROM staged_inventory AS staged LEFT JOIN variants AS known USING (sku)
        WHERE NOT bad WINDOW by_sku AS (PARTITION BY sku) ORDER BY sku, n
    ), written AS (
        INSERT INTO variants (id, sku, product_id, manage_inventory, allow_backorder)
        SELECT sku, sku, handle, manage_inventory, allow_backorder FROM first ORDER BY n
        ON CONFLICT (sku) DO UPDATE
        SET manage_inventory = excluded.manage_inventory, allow_backorder = excluded.allow_backorder
        WHERE (variants.manage_inventory, variants.allow_backorder)
              <> (excluded.manage_inventory, excluded.allow_backorder)
        RETURNING sku
    )
    UPDATE staged_inventory AS staged SET changed = true
    FROM first JOIN written ON written.sku = first.sku WHERE first.n = staged.n
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
# Only a file with options says that a variant is no longer sold with others, or that others have these now.
DELETE_LISTINGS = text("""
    WITH found AS (
        SELECT DISTINCT handle, variants.id AS variant_id, options
        FROM staged_inventory JOIN variants USING (sku) WHERE NOT bad AND :has_options
    )
    DELETE FROM listings USING found
    WHERE product_id = handle AND (listings.variant_id = found.variant_id OR listings.options = found.options)
      AND NOT EXISTS (SELECT FROM found AS kept
                      WHERE (kept.handle, kept.variant_id, kept.options)
                            = (product_id, listings.variant_id, listings.options))
""")
WRITE_LISTINGS = text("""
    INSERT INTO listings (product_id, variant_id, options, name)
    SELECT DISTINCT handle, variants.id, options, '' FROM staged_inventory JOIN variants USING (sku)
    WHERE NOT bad AND (:has_options OR NOT EXISTS (
        SELECT FROM listings WHERE product_id = handle AND variant_id = variants.id))
    ON CONFLICT DO NOTHING
""")
NAME_LISTINGS = text("""
    WITH named AS (
        SELECT product_id, variant_id, options,
               products.title || CASE WHEN options = '' THEN '' ELSE ' - ' || options END AS name
        FROM listings JOIN products ON products.id = product_id
        WHERE product_id IN (SELECT handle FROM staged_inventory WHERE NOT bad)
    )
    UPDATE listings AS listing SET name = named.name FROM named
    WHERE (listing.product_id, listing.variant_id, listing.options)
          = (named.product_id, named.variant_id, named.options) AND listing.name <> named.name
""")
CATALOGUE = (WRITE_LOCATIONS, WRITE_PRODUCTS, WRITE_VARIANTS, WRITE_ITEMS, WRITE_PARTS)
LISTINGS = (DELETE_LISTINGS, WRITE_LISTINGS, NAME_LISTINGS)
WRITTEN_TABLES = (
    *("products", "variants", "listings", "inventory_items", "variant_inventory_items", "locations"),
    *("inventory_levels", "stock_movements", "order_lines"),
)
COUNT = text("""
    SELECT count(*) FILTER (WHERE changed) AS taken, count(*) FILTER (WHERE NOT changed AND NOT bad) AS unchanged
    FROM staged_inventory
""")


async def import_file(session: AsyncSession, file: Path, tally: Tally, *, counted_at: datetime) -> None:
    """Import one file, counted at that time, within this transaction."""
    await staging.create_tables(session, STAGED_INVENTORY)
    with open_rows(file, COLUMNS) as rows:
        options = await _stage(session, tally.count(rows), tally)
    await session.execute(staging.LOCK)
    await session.execute(FILL_LOCATION, {"only_location": ONLY_LOCATION})
    for statement in (FILL_HANDLE, FILL_SKU, FIND_BAD):
        await session.execute(statement)
    await staging.collect_bad_rows(session, "staged_inventory", tally)
    if tally.rejected:
        await session.rollback()
        return
    for statement in (RENAME, FIND_SUPERSEDED, *CATALOGUE):
        await session.execute(statement)
    for statement in LISTINGS:
        await session.execute(statement, {"has_options": options})
    await listings.link_lines(session)
    await stock_counts.set_levels(session, counted_at, file.name)
    await staging.collect_warnings(session, "staged_inventory", tally)
    tally.taken, tally.unchanged = (await session.execute(COUNT)).one()
    await staging.analyze(session, tally, *WRITTEN_TABLES)


async def _stage(session: AsyncSession, rows: Iterable[Row], tally: Tally) -> bool:
    """Stage the levels of all rows; return whether the file says which options variants have."""
    tables = StagingTables(session, {"staged_inventory": NewLevel._fields})
    reader, options = LevelReader(), False
    for row in rows:
        options = options or has_options(row.positions)
        levels = [] if row.problems else list(reader.read(row))
        if row.problems:
            tally.add_bad_row(row.line, row.reason())
        else:
            await tables.add("staged_inventory", *levels)
    await tables.flush()
    return options
