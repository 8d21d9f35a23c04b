"""Export what was shipped as CSV, for the shop that the orders are from to take in (I15).

Each fulfillment gets a number by the first export that finds it completed. Exports take numbers one after another, so
whatever completes later gets a higher one, however long its transaction took. `after the last number that you have` is
therefore complete, which `after this time` would not be.
"""

import csv
import io
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import UTC
from typing import Any, NamedTuple

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.csv_cells import safe_cell
from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.exports import FulfillmentFormat

MAX_PAGE = 1_000  # fulfillments
NUMBERED_AT_ONCE = 10_000

LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.fulfillment_export'))")
# A build before this one has completed fulfillments without a time.
NUMBER = text(f"""
    WITH completed AS MATERIALIZED (
        SELECT fulfillment.id FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
        WHERE export_number IS NULL AND fulfillment.cancelled_at IS NULL AND orders.fulfillment_status = 'fulfilled'
          AND orders.cancellation IS NULL
        ORDER BY coalesce(completed_at, fulfillment.created_at), order_id, position LIMIT {NUMBERED_AT_ONCE}
    ), numbered AS MATERIALIZED (
        SELECT id, nextval('fulfillment_export_numbers') AS number FROM completed
    ), written AS (
        UPDATE fulfillments SET export_number = number FROM numbered WHERE fulfillments.id = numbered.id
        RETURNING number
    )
    SELECT count(*) FROM written
""")  # noqa: S608 - our own constant
LAST = text("SELECT coalesce(max(export_number), 0) FROM fulfillments")
# A line can leave with several fulfillments. Each unit counts in the one that completes it, so that the units of a line
# add up to those ordered. In a fulfillment of an older version, a line can have left from several locations; then none
# is named.
LINES = text("""
    WITH page AS MATERIALIZED (
        SELECT * FROM fulfillments
        WHERE export_number > :since
          AND (CAST(:source AS text) IS NULL OR (SELECT source FROM orders WHERE orders.id = order_id) = :source)
        ORDER BY export_number LIMIT :limit
    )
    SELECT export_number, orders.source, coalesce(external_id, orders.id) AS order_id, orders.number AS order_name,
           coalesce(carrier, '') AS carrier,
           coalesce(tracking_number, '') AS tracking_number,
           coalesce(completed_at, page.created_at) AS shipped_at, line.sku, line.title, shipped.quantity,
           coalesce((SELECT CASE WHEN count(DISTINCT location_id) = 1 THEN min(locations.name) END
                     FROM fulfillment_items AS item JOIN locations ON locations.id = location_id
                     WHERE item.fulfillment_id = page.id AND item.order_line_id = line.id), '') AS location
    FROM page JOIN orders ON orders.id = page.order_id
    JOIN order_lines AS line ON line.order_id = orders.id AND line.quantity > 0
    JOIN LATERAL (
        SELECT CASE WHEN bool_or(is_here) THEN min(line.quantity * upto / units) - min(line.quantity * earlier / units)
                    WHEN count(*) = 0 AND page.position = 1 THEN line.quantity END AS quantity
        FROM (SELECT sum(item.quantity) AS units, bool_or(other.id = page.id) AS is_here,
                     coalesce(sum(item.quantity) FILTER (WHERE other.position <= page.position), 0) AS upto,
                     coalesce(sum(item.quantity) FILTER (WHERE other.position < page.position), 0) AS earlier
              FROM fulfillment_items AS item JOIN fulfillments AS other ON other.id = item.fulfillment_id
              WHERE item.order_line_id = line.id AND other.cancelled_at IS NULL
              GROUP BY inventory_item_id) AS part
    ) AS shipped ON shipped.quantity IS NOT NULL
    ORDER BY export_number, line.position
""")


# Columns and what is in them. Apps for mass changes of Shopify's orders read the first ones.
COLUMNS: Mapping[FulfillmentFormat, Mapping[str, Callable[[Row[Any]], str]]] = {
    "shopify": {
        "Name": lambda line: line.order_name,
        "Order id": lambda line: line.order_id,
        "Line: Type": lambda _: "Fulfillment Line",
        "Line: Title": lambda line: line.title,
        "Line: SKU": lambda line: line.sku,
        "Line: Quantity": lambda line: str(line.quantity),
        "Fulfillment: ID": lambda line: str(line.export_number),
        "Fulfillment: Status": lambda _: "success",
        "Fulfillment: Processed At": lambda line: f"{line.shipped_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} +0000",
        "Fulfillment: Location": lambda line: line.location,
        "Fulfillment: Tracking Company": lambda line: line.carrier,
        "Fulfillment: Tracking Number": lambda line: line.tracking_number,
        "Export number": lambda line: str(line.export_number),
    },
    "woocommerce": {  # of the plug-in Advanced Shipment Tracking
        "order_id": lambda line: line.order_id,
        "tracking_provider": lambda line: line.carrier,
        "tracking_number": lambda line: line.tracking_number,
        "date_shipped": lambda line: f"{line.shipped_at.astimezone(UTC):%d-%m-%Y}",
        "status_shipped": lambda _: "1",
        "sku": lambda line: line.sku,
        "qty": lambda line: str(line.quantity),
        "export_number": lambda line: str(line.export_number),
    },
}


class Page(NamedTuple):
    """The rows of some fulfillments, and the number to continue after: the last one's, or the given one if none.

    `sources`: the shops that the orders are from.
    """

    rows: Sequence[Sequence[str]]
    fulfillments: int
    last: int
    sources: Set[str]


async def load_page(
    tx: AsyncSession,
    since: int,
    limit: int = MAX_PAGE,
    layout: FulfillmentFormat = "shopify",
    source: str | None = None,
) -> Page:
    """Return the next fulfillments after a number, oldest first, one row per order line; with a source, only its own.

    Numbers the completed fulfillments that have none yet. The same number gives the same page again. Raises BadInput
    for a number that no fulfillment has reached, such as one from before a backup was restored: the fulfillments up to
    it would be missed.
    """
    await tx.execute(LOCK)
    if since > (last := (await tx.execute(LAST)).scalar_one()):
        problem = f"must be at most {last}, the last number that was given out; start from one that you are sure of"
        raise BadInput([FieldError(field="since", message=problem)])
    while (await tx.execute(NUMBER)).scalar_one() == NUMBERED_AT_ONCE:
        pass
    lines = (await tx.execute(LINES, {"since": since, "limit": limit, "source": source})).all()
    numbers = {line.export_number for line in lines}
    complete = {line.export_number for line in lines if line.quantity}  # others have only parts of units
    rows = [
        [safe_cell(cell(line)) for cell in COLUMNS[layout].values()]
        for line in lines
        if line.quantity or line.export_number not in complete
    ]
    return Page(rows, len(numbers), max(numbers, default=since), {line.source for line in lines})


def csv_text(rows: Sequence[Sequence[str]], layout: FulfillmentFormat, *, header: bool = True) -> str:
    """Return rows as CSV, with lines that end as RFC 4180 says."""
    file = io.StringIO(newline="")
    csv.writer(file).writerows([list(COLUMNS[layout]), *rows] if header else rows)
    return file.getvalue()
