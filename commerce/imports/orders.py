"""Import the order export of a shop admin: orders with their lines, and the guests who placed them."""

from collections.abc import Iterable
from dataclasses import fields
from operator import attrgetter
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import listings
from commerce.imports import staging
from commerce.imports.content_hash import content_hash
from commerce.imports.csv_rows import Row, open_rows
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.order_rows import COLUMNS, OrderRows, read_orders
from commerce.imports.parsers import ORDER_ID
from commerce.imports.report import Tally
from commerce.imports.staging import StagingTables, Statements

ORDER_FIELDS = [f.name for f in fields(NewOrder) if f.name not in ("id", "lines")]
get_order_fields = attrgetter(*ORDER_FIELDS)

# `line` is that of the order's first row, `has_id` whether its id is from the column Id.
STAGED_ORDERS = """
    CREATE TEMPORARY TABLE staged_orders ON COMMIT DROP AS
    SELECT 0 AS line, '' AS name, false AS has_id, '' AS state, '' AS reason, orders.* FROM orders WITH NO DATA
"""
STAGED_LINES = """
    CREATE TEMPORARY TABLE staged_lines ON COMMIT DROP AS
    SELECT 0 AS first_line, position, sku, title, quantity, unit_price, requires_shipping FROM order_lines WITH NO DATA
"""
STAGED_COLUMNS = {
    "staged_orders": ("line", "name", "has_id", "state", "id", "content_hash", *ORDER_FIELDS),
    "staged_lines": ("first_line", "position", *NewOrderLine._fields),
}
# Two groups are of one order if their ids agree, or if their names agree and one of them has no id of its own.
FIND_REPEATED = text("""
    WITH seen AS (
        SELECT line, count(*) OVER by_id > 1 AS same_id, line > min(line) OVER by_id AS after_id,
               count(*) OVER by_name > 1 AND NOT bool_and(has_id) OVER by_name AS same_name,
               line > min(line) OVER by_name AS after_name
        FROM staged_orders
        WINDOW by_id AS (PARTITION BY id), by_name AS (PARTITION BY name)
    )
    UPDATE staged_orders AS staged
    SET state = 'bad',
        reason = CASE WHEN (same_id AND after_id) OR (same_name AND after_name)
                      THEN 'order ' || id || ' appears twice: all rows of one order must be consecutive' END
    FROM seen
    WHERE seen.line = staged.line AND state = 'new' AND (same_id OR same_name)
""")
FIND_KNOWN = text("""
    UPDATE staged_orders AS staged
    SET state = CASE WHEN known.content_hash = staged.content_hash THEN 'known' ELSE 'bad' END,
        reason = CASE WHEN known.content_hash <> staged.content_hash
                      THEN 'order ' || staged.id || ' already exists with different content' END
    FROM orders AS known
    WHERE known.id = staged.id AND state = 'new'
""")
WRITE_GUESTS = text("""
    INSERT INTO customers (email, has_account, created_at)
    SELECT email, false, min(created_at) FROM staged_orders AS staged
    WHERE state = 'new' AND email IS NOT NULL
    GROUP BY email ORDER BY email
    ON CONFLICT (email) DO UPDATE SET created_at = excluded.created_at
    WHERE customers.created_at > excluded.created_at AND NOT customers.has_account
""")
WRITE_ORDERS = text("""
    WITH written AS (
        INSERT INTO orders (
            id, customer_id, email, payment_status, fulfillment_status, currency, shipping_total, total,
            shipping_method, shipping_name, shipping_address1, shipping_city, shipping_zip, shipping_province,
            shipping_country, shipping_phone, created_at, paid_at, cancelled_at, content_hash)
        SELECT
            id, (SELECT customers.id FROM customers WHERE customers.email = staged.email),
            email, payment_status, fulfillment_status, currency, shipping_total, total,
            shipping_method, shipping_name, shipping_address1, shipping_city, shipping_zip, shipping_province,
            shipping_country, shipping_phone, created_at, paid_at, cancelled_at, content_hash
        FROM staged_orders AS staged WHERE state = 'new' ORDER BY line
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    UPDATE staged_orders AS staged SET state = 'written' FROM written WHERE written.id = staged.id AND state = 'new'
""")
WRITE_LINES = text("""
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price, requires_shipping)
    SELECT staged.id, line.position, variants.id, line.sku, line.title, quantity, unit_price, requires_shipping
    FROM staged_lines AS line
    JOIN staged_orders AS staged ON staged.line = line.first_line AND staged.state = 'written'
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY line.first_line, line.position
""")
STATEMENTS = Statements(
    table="staged_orders",
    find_repeated=FIND_REPEATED,
    find_known=FIND_KNOWN,
    write=(WRITE_GUESTS, WRITE_ORDERS, WRITE_LINES),
    written=("customers", "orders", "order_lines"),
)


async def import_file(session: AsyncSession, file: Path, tally: Tally, *, currency: str) -> None:
    """Import one file within this transaction; `currency` is for orders that have none."""
    await staging.create_tables(session, STAGED_ORDERS, STAGED_LINES)
    with open_rows(file, COLUMNS) as rows:
        await _stage(session, tally.count(rows), tally, currency)
    await staging.check_and_write(session, STATEMENTS, tally)
    if not tally.rejected:
        await listings.link_lines(session)


async def _stage(session: AsyncSession, rows: Iterable[Row], tally: Tally, currency: str) -> None:
    tables = StagingTables(session, STAGED_COLUMNS)
    for group in read_orders(rows, currency, tally.add_bad_row):
        if (order := group.order) is None:
            await tables.add("staged_orders", _bad_record(group))
            continue
        ids = (group.line, group.name, group.has_id, "new", order.id, content_hash(order))
        await tables.add("staged_orders", (*ids, *get_order_fields(order)))
        await tables.add("staged_lines", *((group.line, i, *line) for i, line in enumerate(order.lines, 1)))
    await tables.flush()


def _bad_record(group: OrderRows) -> tuple[object, ...]:
    """Return the record of a bad order: just enough to detect that the order is in the file twice."""
    name = None if "\0" in group.name else group.name
    order_id = group.id if ORDER_ID.fullmatch(group.id) else None
    return (group.line, name, group.has_id, "bad", order_id, *[None] * (1 + len(ORDER_FIELDS)))
