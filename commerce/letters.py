"""What a mail tells: the facts of its kind, read from the database when it is sent."""

from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MAX_LINES = 30  # order lines in a mail; the rest is counted

ORDER = text("""
    SELECT id AS order_id, shipping_name AS name, currency, total, shipping_total,
           (SELECT tracking_number FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL),
           (SELECT count(*) FROM order_lines WHERE order_id = orders.id) AS line_count,
           (SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE order_id = orders.id) AS units
    FROM orders WHERE id = :order_id
""")
LINES = text("""
    SELECT sku, title, quantity, unit_price, quantity * unit_price AS amount
    FROM order_lines WHERE order_id = :order_id ORDER BY position LIMIT :limit
""")
SHORTAGE = text("""
    SELECT data FROM outbox_events
    WHERE aggregate = 'order/' || CAST(:order_id AS text) AND type = 'order.insufficient_inventory'
    ORDER BY sequence DESC LIMIT 1
""")


async def facts(tx: AsyncSession, kind: str, order_id: str | None, data: dict[str, Any]) -> dict[str, Any]:
    """Return what the templates of a kind need beside what was queued with the mail."""
    reader = READERS.get(kind)
    return data | (await reader(tx, order_id) if reader and order_id else {})


async def _shipped(tx: AsyncSession, order_id: str) -> dict[str, Any]:
    order = (await tx.execute(ORDER, {"order_id": order_id})).mappings().one()
    lines = (await tx.execute(LINES, {"order_id": order_id, "limit": MAX_LINES})).mappings().all()
    return dict(order) | {"lines": lines, "more_lines": order["line_count"] - len(lines)}


async def _shortage(tx: AsyncSession, order_id: str) -> dict[str, Any]:
    """Return the short items as the refusal's event has them, at most 100, and how many more there are."""
    event = (await tx.execute(SHORTAGE, {"order_id": order_id})).one_or_none()
    if event is None:
        return {}
    return {"items": event.data["items"], "more_items": event.data["count"] - len(event.data["items"])}


READERS = {"order-shipped": _shipped, "insufficient-inventory": _shortage}
