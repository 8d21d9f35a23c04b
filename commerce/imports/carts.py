"""Takes in the abandoned checkouts that a shop admin exports: carts with their lines."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.imports import cells, staging
from commerce.imports.cart_rows import COLUMNS, CartBlock, NewCart, NewCartLine, read_carts
from commerce.imports.content_hash import content_hash
from commerce.imports.csv_rows import Row, open_rows
from commerce.imports.report import Tally
from commerce.imports.staging import Staged, Staging

CART_FIELDS = [f.name for f in fields(NewCart) if f.name not in ("id", "lines")]
cart_fields = attrgetter(*CART_FIELDS)

# `line` is that of the first row.
STAGED_CARTS = """
    CREATE TEMPORARY TABLE staged_carts ON COMMIT DROP AS
    SELECT 0 AS line, '' AS state, '' AS reason, carts.* FROM carts WITH NO DATA
"""
STAGED_LINES = """
    CREATE TEMPORARY TABLE staged_lines ON COMMIT DROP AS
    SELECT 0 AS cart_at, 0 AS position, sku, quantity, unit_price FROM cart_lines WITH NO DATA
"""
TABLES = {
    "staged_carts": ("line", "state", "id", "content_hash", *CART_FIELDS),
    "staged_lines": ("cart_at", "position", *NewCartLine._fields),
}
FIND_REPEATED = text("""
    WITH seen AS (
        SELECT line, count(*) OVER by_id > 1 AS repeated, line > min(line) OVER by_id AS again
        FROM staged_carts
        WINDOW by_id AS (PARTITION BY id)
    )
    UPDATE staged_carts AS staged
    SET state = 'bad',
        reason = CASE WHEN again THEN 'cart ' || id || ' appears twice: the rows of a cart must stand together' END
    FROM seen
    WHERE seen.line = staged.line AND state = 'new' AND repeated
""")
# The hash is of what was taken in, whatever the shop has done to the cart since; a cart of its own has none.
FIND_KNOWN = text("""
    UPDATE staged_carts AS staged
    SET state = CASE WHEN known.content_hash = staged.content_hash THEN 'known' ELSE 'bad' END,
        reason = CASE WHEN known.content_hash IS DISTINCT FROM staged.content_hash
                      THEN 'cart ' || staged.id || ' is known with other content' END
    FROM carts AS known
    WHERE known.id = staged.id AND state = 'new'
""")
WRITE_CARTS = text("""
    WITH written AS (
        INSERT INTO carts (id, email, currency, created_at, updated_at, completed_at, content_hash)
        SELECT id, email, currency, created_at, updated_at, completed_at, content_hash
        FROM staged_carts WHERE state = 'new' ORDER BY line
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    UPDATE staged_carts AS staged SET state = 'taken' FROM written WHERE written.id = staged.id AND state = 'new'
""")
WRITE_LINES = text("""
    INSERT INTO cart_lines (cart_id, variant_id, sku, quantity, unit_price, updated_at)
    SELECT staged.id, variants.id, line.sku, quantity, unit_price, staged.updated_at
    FROM staged_lines AS line
    JOIN staged_carts AS staged ON staged.line = line.cart_at AND staged.state = 'taken'
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY line.cart_at, line.position
""")
CARTS = Staged(
    table="staged_carts",
    find_repeated=FIND_REPEATED,
    find_known=FIND_KNOWN,
    write=(WRITE_CARTS, WRITE_LINES),
    written=("carts", "cart_lines"),
)


async def take_in(session: AsyncSession, file: Path, tally: Tally, *, currency: str) -> None:
    """Take one file in within this transaction; a bad row spoils its cart at least, or the file."""
    await staging.begin(session, STAGED_CARTS, STAGED_LINES)
    with open_rows(file, COLUMNS) as rows:
        await _stage(session, tally.count(rows), tally, currency)
    await staging.settle(session, CARTS, tally)


async def _stage(session: AsyncSession, rows: Iterable[Row], tally: Tally, currency: str) -> None:
    staged = Staging(session, TABLES)
    for block in read_carts(rows, currency, tally.refuse):
        if (cart := block.cart) is None:
            await staged.add("staged_carts", _bad(block))
            continue
        await staged.add("staged_carts", (block.line, "new", cart.id, content_hash(cart), *cart_fields(cart)))
        await staged.add("staged_lines", *((block.line, i, *line) for i, line in enumerate(cart.lines, 1)))
    await staged.close()


def _bad(block: CartBlock) -> tuple[object, ...]:
    """Return what is left of a bad block: enough to see that a cart is in the file twice."""
    cart_id = block.id if cells.ORDER_ID.fullmatch(block.id) else None
    return (block.line, "bad", cart_id, *[None] * (1 + len(CART_FIELDS)))
