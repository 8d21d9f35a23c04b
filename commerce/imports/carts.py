"""Import the abandoned checkouts that a shop admin exports: carts with their lines."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import forgotten
from commerce.imports import staging
from commerce.imports.cart_rows import COLUMNS, CartRows, NewCart, NewCartLine, read_carts
from commerce.imports.content_hash import content_hash
from commerce.imports.csv_rows import Row, open_rows
from commerce.imports.parsers import ORDER_ID
from commerce.imports.report import Tally
from commerce.imports.staging import StagingTables, Statements

CART_FIELDS = [f.name for f in fields(NewCart) if f.name not in ("id", "lines")]
get_cart_fields = attrgetter(*CART_FIELDS)

# `line` is that of the cart's first row, `is_dated` whether the file says when the cart changed last, and `only_bought`
# whether a known cart keeps its content and is only marked as bought.
STAGED_CARTS = """
    CREATE TEMPORARY TABLE staged_carts ON COMMIT DROP AS
    SELECT 0 AS line, '' AS state, '' AS reason, false AS is_dated, false AS only_bought, carts.*
    FROM carts WITH NO DATA
"""
STAGED_LINES = """
    CREATE TEMPORARY TABLE staged_lines ON COMMIT DROP AS
    SELECT 0 AS first_line, 0 AS position, sku, quantity, unit_price FROM cart_lines WITH NO DATA
"""
STAGED_COLUMNS = {
    "staged_carts": ("line", "state", "is_dated", "id", "content_hash", *CART_FIELDS),
    "staged_lines": ("first_line", "position", *NewCartLine._fields),
}
FIND_REPEATED = text("""
    WITH seen AS (
        SELECT line, count(*) OVER by_id > 1 AS repeated, line > min(line) OVER by_id AS again
        FROM staged_carts
        WINDOW by_id AS (PARTITION BY id)
    )
    UPDATE staged_carts AS staged
    SET state = 'bad',
        reason = CASE WHEN again THEN 'cart ' || id || ' appears twice: all rows of one cart must be consecutive' END
    FROM seen
    WHERE seen.line = staged.line AND state = 'new' AND repeated
""")
# A cart of the file is known if the shop has the same content or newer one. The stored hash is that of the imported
# content, even if the shop has changed the cart since; its own carts have none, and a file never changes them. Carts
# stay locked until the end, so that the comparison holds: they cannot be bought, touched or expire meanwhile.
FIND_KNOWN = text("""
    WITH locked AS MATERIALIZED (
        SELECT * FROM carts WHERE id IN (SELECT id FROM staged_carts WHERE state = 'new') ORDER BY id FOR UPDATE
    ), compared AS (
        SELECT staged.line, known.content_hash IS NULL AS is_own,
               known.content_hash = staged.content_hash AS same,
               staged.updated_at > known.updated_at OR (NOT staged.is_dated AND staged.updated_at >= known.updated_at)
                   AS newer,
               staged.updated_at = known.updated_at AS same_time,
               staged.completed_at > coalesce(known.completed_at, '-infinity') AS bought
        FROM locked AS known JOIN staged_carts AS staged USING (id)
        WHERE staged.state = 'new'
    )
    UPDATE staged_carts AS staged
    SET state = CASE WHEN is_own THEN 'bad'
                     WHEN same THEN 'known'
                     WHEN newer OR bought THEN 'changed'
                     WHEN same_time THEN 'bad'
                     ELSE 'known' END,
        reason = CASE WHEN is_own OR (same_time AND NOT (same OR newer OR bought IS TRUE))
                      THEN 'cart ' || staged.id || ' already exists with different content'
                           || CASE WHEN is_own THEN '' ELSE ' and the same Updated at' END END,
        only_bought = bought IS TRUE AND NOT (newer OR same_time)
    FROM compared WHERE compared.line = staged.line
""")
WRITE_CARTS = text("""
    WITH written AS (
        INSERT INTO carts (id, email, currency, created_at, updated_at, completed_at, content_hash)
        SELECT id, email, currency, created_at, updated_at, completed_at, content_hash
        FROM staged_carts WHERE state = 'new' ORDER BY line
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    UPDATE staged_carts AS staged SET state = 'written' FROM written WHERE written.id = staged.id AND state = 'new'
""")
# What was bought stays bought, whatever the file says (C4).
CHANGE_CARTS = text("""
    UPDATE carts AS known
    SET completed_at = greatest(known.completed_at, staged.completed_at),
        updated_at = greatest(known.updated_at, staged.updated_at),
        email = CASE WHEN only_bought THEN known.email ELSE staged.email END,
        currency = CASE WHEN only_bought THEN known.currency ELSE staged.currency END,
        created_at = CASE WHEN only_bought THEN known.created_at ELSE staged.created_at END,
        content_hash = CASE WHEN only_bought THEN known.content_hash ELSE staged.content_hash END
    FROM staged_carts AS staged WHERE staged.id = known.id AND state = 'changed'
""")
DELETE_LINES = text("""
    DELETE FROM cart_lines USING staged_carts AS staged
    WHERE cart_id = staged.id AND state = 'changed' AND NOT only_bought
""")
WRITE_LINES = text("""
    INSERT INTO cart_lines (cart_id, variant_id, sku, quantity, unit_price, updated_at)
    SELECT staged.id, variants.id, line.sku, quantity, unit_price, staged.updated_at
    FROM staged_lines AS line
    JOIN staged_carts AS staged
        ON staged.line = line.first_line AND state IN ('written', 'changed') AND NOT coalesce(only_bought, false)
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY line.first_line, line.position
""")
STATEMENTS = Statements(
    table="staged_carts",
    forget=forgotten.drop_staged_carts,
    find_repeated=FIND_REPEATED,
    find_known=FIND_KNOWN,
    write=(WRITE_CARTS, CHANGE_CARTS, DELETE_LINES, WRITE_LINES),
    written=("carts", "cart_lines"),
)


async def import_file(session: AsyncSession, file: Path, tally: Tally, *, currency: str) -> None:
    """Import one file within this transaction; `currency` is for carts that have none."""
    await staging.create_tables(session, STAGED_CARTS, STAGED_LINES)
    with open_rows(file, COLUMNS) as rows:
        await _stage(session, tally.count(rows), tally, currency)
    await staging.check_and_write(session, STATEMENTS, tally)


async def _stage(session: AsyncSession, rows: Iterable[Row], tally: Tally, currency: str) -> None:
    tables = StagingTables(session, STAGED_COLUMNS)
    for group in read_carts(rows, currency, tally.add_bad_row):
        if (cart := group.cart) is None:
            await tables.add("staged_carts", _bad_record(group))
            continue
        await tables.add(
            "staged_carts", (group.line, "new", group.is_dated, cart.id, content_hash(cart), *get_cart_fields(cart))
        )
        await tables.add("staged_lines", *((group.line, i, *line) for i, line in enumerate(cart.lines, 1)))
    await tables.flush()


def _bad_record(group: CartRows) -> tuple[object, ...]:
    """Return the record of a bad cart: just enough to detect that the cart is in the file twice."""
    cart_id = group.id if ORDER_ID.fullmatch(group.id) else None
    return (group.line, "bad", group.is_dated, cart_id, *[None] * (1 + len(CART_FIELDS)))
