"""Which variant an order line is about (I12)."""

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import sales
from commerce.errors import BadInput
from commerce.messages.base import FieldError, Message
from commerce.open_orders import IS_OPEN, NEEDS_VARIANT

MAX_UNLINKED = 1_000  # listed

# By SKU, else as a person has linked the line, else by title and options if only one variant is sold with them.
LINKS = (
    "variants ON variants.sku = line.sku",
    """variant_links AS link ON link.line_text = coalesce(nullif(line.sku, ''), line.title)
       JOIN variants ON variants.id = link.variant_id""",
    """LATERAL (SELECT min(variant_id) AS variant_id FROM listings WHERE name = line.title
                HAVING count(DISTINCT variant_id) = 1) AS listing ON line.sku = ''
       JOIN variants ON variants.id = listing.variant_id""",
)


def _link_lines(of_orders: str = "true") -> list[str]:
    return [
        f"""
            UPDATE order_lines SET variant_id = found.variant_id
            FROM (SELECT line.id, variants.id AS variant_id FROM order_lines AS line JOIN {link}
                  WHERE line.variant_id IS NULL AND {of_orders}) AS found
            WHERE order_lines.id = found.id
        """  # noqa: S608 - our own constants
        for link in LINKS
    ]


def _marking_days(link: str) -> TextClause:
    marks = sales.mark_products("SELECT order_id FROM linked")
    return text(f"WITH linked AS ({link} RETURNING order_id) {marks}")


LINK_ALL_LINES = [text(link) for link in _link_lines()]
LINK_ALL_LINES_AND_MARK_DAYS = [_marking_days(link) for link in _link_lines()]
LINK_LINES_OF_ORDER = [text(link) for link in _link_lines("line.order_id = :order_id")]
# Older versions put orders that lack a product on hold; now they only wait (V14).
END_HOLDS = text(f"""
    UPDATE orders SET hold_reason = NULL
    WHERE hold_reason = 'failed: UnknownVariant' AND {IS_OPEN}
      AND NOT EXISTS (SELECT FROM order_lines AS line WHERE order_id = orders.id AND {NEEDS_VARIANT})
""")  # noqa: S608 - our own constant
LOCK_IMPORTS = text("SELECT pg_advisory_xact_lock(hashtext('commerce.imports'))")
LINK = text("""
    INSERT INTO variant_links (line_text, variant_id) SELECT :line_text, id FROM variants WHERE sku = :sku
    ON CONFLICT (line_text) DO UPDATE SET variant_id = excluded.variant_id, created_at = excluded.created_at
    RETURNING variant_id
""")
COUNT_LINES = text("""
    SELECT count(*) FROM order_lines WHERE variant_id IS NULL AND coalesce(nullif(sku, ''), title) = :line_text
""")
UNLINKED = text(f"""
    SELECT sku <> '' AS has_sku, coalesce(nullif(sku, ''), line.title) AS line_text, count(*) AS lines,
           count(DISTINCT order_id) AS orders
    FROM order_lines AS line JOIN orders ON orders.id = order_id
    WHERE {NEEDS_VARIANT} AND {IS_OPEN}
    GROUP BY 1, 2 ORDER BY orders DESC, line_text LIMIT {MAX_UNLINKED}
""")  # noqa: S608 - our own constants


class UnlinkedLine(Message):
    """What open orders have instead of a known SKU: an unknown SKU, or a title."""

    text: str
    has_sku: bool
    lines: int
    orders: int


async def link_lines(tx: AsyncSession, *, marks_days: bool = True) -> None:
    """Link all order lines that have no variant yet, and end the holds that older versions gave orders for that.

    The days of these orders are marked, because their products' figures change (J7); `marks_days` is false if the
    caller has marked the days of all orders whose lines can be linked. The caller holds the lock of imports, so that no
    line and no variant is missed.
    """
    for statement in (*(LINK_ALL_LINES_AND_MARK_DAYS if marks_days else LINK_ALL_LINES), END_HOLDS):
        await tx.execute(statement)


async def link_lines_of(tx: AsyncSession, order_id: str) -> None:
    """Link the lines of a new order; if it has lines without a known SKU, the caller shares the lock of imports.

    The caller marks the day of the order.
    """
    for statement in LINK_LINES_OF_ORDER:
        await tx.execute(statement, {"order_id": order_id})


async def link(tx: AsyncSession, line_text: str, sku: str) -> int:
    """Link all lines with this unknown SKU, or without a SKU and with this title, now and later; return how many now.

    Raises BadInput if no variant has the SKU.
    """
    await tx.execute(LOCK_IMPORTS)
    lines = (await tx.execute(COUNT_LINES, {"line_text": line_text})).scalar_one()
    if (await tx.execute(LINK, {"line_text": line_text, "sku": sku})).one_or_none() is None:
        raise BadInput([FieldError(field="sku", message="no variant has this SKU")])
    await link_lines(tx)
    return int(lines)


async def list_unlinked(tx: AsyncSession) -> list[UnlinkedLine]:
    """Return what open orders wait for, those first that most of them have."""
    rows = (await tx.execute(UNLINKED)).all()
    return [UnlinkedLine(text=r.line_text, has_sku=r.has_sku, lines=r.lines, orders=r.orders) for r in rows]
