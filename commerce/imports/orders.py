"""Import the order export of a shop admin: orders with their lines, and the guests who placed them."""

from collections.abc import Iterable
from operator import attrgetter
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import forgotten, listings, sales
from commerce.countries import INVALID_COUNTRY
from commerce.imports import staging
from commerce.imports.changed_orders import change_orders
from commerce.imports.content_hash import FIRST_FIELDS, VERSION, first_order_hash, order_hash
from commerce.imports.csv_rows import open_rows
from commerce.imports.known_orders import candidates
from commerce.imports.new_order import IDENTITY_FIELDS, ORDER_FIELDS, NewOrderLine
from commerce.imports.order_parser import has_unknown_country
from commerce.imports.order_rows import COLUMNS, OrderRows, read_orders
from commerce.imports.parsers import ORDER_ID
from commerce.imports.report import Tally
from commerce.imports.staging import StagingTables, Statements
from commerce.messages.base import count_of
from commerce.open_orders import IS_OPEN, LACKS_METHOD, NOT_CAPTURABLE
from commerce.order_identity import name_key_of

RECORD_FIELDS = (*IDENTITY_FIELDS, *ORDER_FIELDS, "forgotten_at")
get_record_fields = attrgetter(*RECORD_FIELDS)
# What the first import after an upgrade adds to an order that an older version has stored.
FILLED_FIELDS = (
    *(name for name in ORDER_FIELDS if name not in FIRST_FIELDS and name != "fulfillment_status"),
    "content_hash",
)
LATER_LINE_FIELDS = tuple(NewOrderLine._field_defaults)  # those that older versions did not store
COUNT_WITHOUT_METHOD = text(f"""
    SELECT count(DISTINCT orders.id)
    FROM orders JOIN staged_orders AS staged ON orders.id = coalesce(staged.known_id, staged.id)
    WHERE staged.state <> 'bad' AND {IS_OPEN} AND {LACKS_METHOD}
""")  # noqa: S608 - our own constants
COUNT_NOT_CAPTURABLE = text(f"""
    SELECT count(DISTINCT orders.id)
    FROM orders JOIN staged_orders AS staged ON orders.id = coalesce(staged.known_id, staged.id)
    WHERE staged.state <> 'bad' AND {NOT_CAPTURABLE}
""")  # noqa: S608 - our own constants
NO_CAPTURE = (
    "{} with an authorized payment whose reference is no payment that can be captured here: processed when the shop "
    "has captured it"
)
WITHOUT_METHOD = (
    "{} with goods to ship but without a Shipping Method: no label is bought and the mail says fulfilled, "
    "unless COMMERCE_NO_METHOD=hold"
)

# `line` is that of the order's first row, `known_id` the id of the stored order that it is. `first_hash` is the hash of
# version 1. States, besides those of `Statements`: earlier (known, but stored by a version with fewer columns).
STAGED_ORDERS = """
    CREATE TEMPORARY TABLE staged_orders ON COMMIT DROP AS
    SELECT 0 AS line, '' AS state, '' AS reason, '' AS known_id, '' AS first_hash, orders.* FROM orders WITH NO DATA
"""
STAGED_LINES = f"""
    CREATE TEMPORARY TABLE staged_lines ON COMMIT DROP AS
    SELECT 0 AS first_line, position, {", ".join(NewOrderLine._fields)} FROM order_lines WITH NO DATA
"""  # noqa: S608 - our own columns
STAGED_COLUMNS = {
    "staged_orders": ("line", "state", "first_hash", "content_hash", *RECORD_FIELDS),
    "staged_lines": ("first_line", "position", *NewOrderLine._fields),
}
OLDER_VERSION = text(f"SELECT EXISTS (SELECT FROM orders WHERE content_hash NOT LIKE '{VERSION}%')")  # noqa: S608
# Two groups are of one order if their ids agree, or if their names agree and one of them has no id of its own.
FIND_REPEATED = text("""
    WITH seen AS (
        SELECT line, count(*) OVER by_id > 1 AS same_id, line > min(line) OVER by_id AS after_id,
               count(*) OVER by_name > 1 AND bool_or(external_id IS NULL) OVER by_name AS same_name,
               line > min(line) OVER by_name AS after_name
        FROM staged_orders
        WINDOW by_id AS (PARTITION BY id), by_name AS (PARTITION BY name_key)
    )
    UPDATE staged_orders AS staged
    SET state = 'bad',
        reason = CASE WHEN (same_id AND after_id) OR (same_name AND after_name)
                      THEN 'order ' || id || ' appears twice: all rows of one order must be consecutive' END
    FROM seen
    WHERE seen.line = staged.line AND state = 'new' AND (same_id OR same_name)
""")
FIND_KNOWN = text(f"""
    WITH match AS (
        SELECT DISTINCT ON (line) *
        FROM ({candidates("SELECT * FROM staged_orders WHERE state = 'new'")}) AS candidate ORDER BY line, rank
    ), found AS (
        SELECT staged.line, coalesce(match.id, taken.id) AS id, CASE
            WHEN match.id IS NULL THEN 'order ' || staged.name || ' has the id of another order'
            WHEN ambiguous THEN 'the row has no Id, and more than one order is named like this' END AS reason,
            CASE match.content_hash WHEN staged.content_hash THEN 'known' WHEN staged.first_hash THEN 'earlier'
                                    ELSE 'changed' END AS state
        FROM staged_orders AS staged
        LEFT JOIN match USING (line)
        LEFT JOIN orders AS taken ON taken.id = staged.id
        WHERE state = 'new' AND (match.id IS NOT NULL OR taken.id IS NOT NULL)
    )
    UPDATE staged_orders AS staged
    SET known_id = found.id, reason = found.reason,
        state = CASE WHEN found.reason IS NULL THEN found.state ELSE 'bad' END
    FROM found WHERE found.line = staged.line
""")  # noqa: S608 - our own tables
# Of several orders with the same name, only the first one can be found by it.
CLEAR_NAMESAKES = text("""
    UPDATE staged_orders AS staged SET name_key = NULL
    FROM (SELECT name_key, min(line) AS line FROM staged_orders WHERE state <> 'bad' GROUP BY name_key) AS first
    WHERE first.name_key = staged.name_key AND state <> 'bad' AND external_id IS NOT NULL
      AND (first.line < staged.line OR EXISTS (
          SELECT FROM orders AS older
          WHERE older.source = staged.source AND older.name_key = staged.name_key AND older.external_id IS NOT NULL
            AND older.id IS DISTINCT FROM staged.known_id))
""")
WRITE_GUESTS = text("""
    INSERT INTO customers (email, has_account, created_at)
    SELECT email, false, min(created_at) FROM staged_orders AS staged
    WHERE state = 'new' AND email IS NOT NULL
    GROUP BY email ORDER BY email
    ON CONFLICT (email) DO UPDATE SET created_at = excluded.created_at
    WHERE customers.created_at > excluded.created_at AND NOT customers.has_account
""")
# Orders of the past, which nobody ships here. What their source states stays known: the same again changes nothing.
CLOSE_HISTORY = text("""
    UPDATE staged_orders
    SET fulfillment_status = 'fulfilled_elsewhere',
        corrections = jsonb_build_object('fulfillment_status', fulfillment_status)
    WHERE state = 'new' AND fulfillment_status IN ('not_fulfilled', 'partially_fulfilled', 'scheduled', 'on_hold')
""")
COUNT_HISTORY = text("SELECT count(*) FROM staged_orders WHERE state = 'written' AND corrections IS NOT NULL")
AS_HISTORY = "{} recorded as fulfilled elsewhere: nothing of them is shipped"
WRITE_ORDERS = text(f"""
    WITH written AS (
        INSERT INTO orders ({", ".join(RECORD_FIELDS)}, customer_id, content_hash, corrections)
        SELECT {", ".join(RECORD_FIELDS)},
               (SELECT customers.id FROM customers WHERE customers.email = staged.email), content_hash, corrections
        FROM staged_orders AS staged WHERE state = 'new' ORDER BY line
        ON CONFLICT DO NOTHING
        RETURNING id
    )
    UPDATE staged_orders AS staged SET state = 'written' FROM written WHERE written.id = staged.id AND state = 'new'
""")  # noqa: S608 - our own columns
WRITE_LINES = text(f"""
    INSERT INTO order_lines (order_id, position, variant_id, {", ".join(NewOrderLine._fields)})
    SELECT staged.id, line.position, variants.id, {", ".join(f"line.{name}" for name in NewOrderLine._fields)}
    FROM staged_lines AS line
    JOIN staged_orders AS staged ON staged.line = line.first_line AND staged.state = 'written'
    LEFT JOIN variants ON variants.sku = line.sku
    ORDER BY line.first_line, line.position
""")  # noqa: S608 - our own columns
FILL_LINES = text(f"""
    UPDATE order_lines AS stored SET {", ".join(f"{name} = line.{name}" for name in LATER_LINE_FIELDS)}
    FROM staged_lines AS line JOIN staged_orders AS staged ON staged.line = line.first_line AND staged.state = 'earlier'
    WHERE stored.order_id = staged.known_id AND stored.position = line.position
      AND ({", ".join(f"line.{name}" for name in LATER_LINE_FIELDS)})
          IS DISTINCT FROM ({", ".join(f"stored.{name}" for name in LATER_LINE_FIELDS)})
""")  # noqa: S608 - our own columns
FILL_ORDERS = text(f"""
    WITH filled AS (
        UPDATE orders SET {", ".join(f"{name} = staged.{name}" for name in FILLED_FIELDS)}
        FROM staged_orders AS staged WHERE staged.state = 'earlier' AND orders.id = staged.known_id
        RETURNING orders.id
    )
    UPDATE staged_orders SET state = 'written' FROM filled WHERE filled.id = known_id
""")  # noqa: S608 - our own columns
RECORD_SALES = sales.record_statements("SELECT coalesce(known_id, id) FROM staged_orders WHERE state = 'written'")
# A row without an id or a request without a name may have come first.
COMPLETE_IDENTITIES = text("""
    UPDATE orders
    SET external_id = coalesce(orders.external_id, staged.external_id),
        name = coalesce(orders.name, staged.name),
        name_key = CASE WHEN orders.name IS NULL THEN staged.name_key ELSE orders.name_key END
    FROM staged_orders AS staged
    WHERE staged.known_id = orders.id AND state IN ('known', 'changed', 'written')
      AND (orders.name IS NULL OR (orders.external_id IS NULL AND staged.external_id IS NOT NULL))
""")
STATEMENTS = Statements(
    table="staged_orders",
    forget=forgotten.strip_staged_orders,
    find_repeated=FIND_REPEATED,
    find_known=FIND_KNOWN,
    write=(
        WRITE_GUESTS,
        *(CLEAR_NAMESAKES, WRITE_ORDERS),
        *(CLEAR_NAMESAKES, WRITE_ORDERS),  # another transaction may have inserted a namesake meanwhile
        WRITE_LINES,
        *(FILL_LINES, FILL_ORDERS),
        *RECORD_SALES,
        COMPLETE_IDENTITIES,
    ),
    written=("customers", "orders", "order_lines"),
    change=change_orders,
)


async def import_file(
    session: AsyncSession, file: Path, tally: Tally, *, currency: str, source: str, as_history: bool = False
) -> None:
    """Import one file within this transaction; `currency` is for orders that have none."""
    await staging.create_tables(session, STAGED_ORDERS, STAGED_LINES)
    with open_rows(file, COLUMNS) as rows:
        await _stage(session, tally, read_orders(tally.count(rows), currency, tally.add_bad_row, source))
    statements = STATEMENTS._replace(write=(CLOSE_HISTORY, *STATEMENTS.write)) if as_history else STATEMENTS
    await staging.check_and_write(session, statements, tally)
    if not tally.rejected:
        await listings.link_lines(session, marks_days=False)  # only new and changed lines, whose days are marked
        if count := (await session.execute(COUNT_WITHOUT_METHOD)).scalar_one():
            tally.add_note(WITHOUT_METHOD.format(count_of(count, "order")))
        if count := (await session.execute(COUNT_NOT_CAPTURABLE)).scalar_one():
            tally.add_note(NO_CAPTURE.format(count_of(count, "order")))
        if as_history and (count := (await session.execute(COUNT_HISTORY)).scalar_one()):
            tally.add_note(AS_HISTORY.format(count_of(count, "order")))


async def _stage(session: AsyncSession, tally: Tally, groups: Iterable[OrderRows]) -> None:
    tables = StagingTables(session, STAGED_COLUMNS)
    older_version = (await session.execute(OLDER_VERSION)).scalar_one()
    for group in groups:
        if (order := group.order) is None:
            await tables.add("staged_orders", _bad_record(group))
            continue
        if has_unknown_country(order.shipping_country):
            tally.add_warning(group.line, f"Shipping Country: {INVALID_COUNTRY}")
        for line, reason in group.warnings:
            tally.add_warning(line, reason)
        hashes = (first_order_hash(order) if older_version else None, order_hash(order))
        await tables.add("staged_orders", (group.line, "new", *hashes, *get_record_fields(order)))
        await tables.add("staged_lines", *((group.line, i, *line) for i, line in enumerate(order.lines, 1)))
    await tables.flush()


def _bad_record(group: OrderRows) -> tuple[object, ...]:
    """Return the record of a bad order: just enough to detect that the order is in the file twice."""
    name_key = None if "\0" in group.name else name_key_of(group.name)
    own_id = group.id if ORDER_ID.fullmatch(group.id) else None
    known: dict[str, object] = {
        "id": own_id,
        "external_id": own_id if group.has_id and own_id != name_key else None,
        "name_key": name_key,
    }
    return (group.line, "bad", None, None, *(known.get(name) for name in RECORD_FIELDS))
