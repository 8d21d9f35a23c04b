"""What a mail tells and shows: the facts of its kind, read from the database when it is sent, and images of them."""

import asyncio
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.mail.charts import DAYS, revenue_chart
from commerce.mail.render import Image

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

CUSTOMER = text("SELECT first_name FROM customers WHERE id = CAST(:customer_id AS uuid)")
METRICS = text("""
    SELECT day, currency, orders, revenue, average_order_value, new_customers, returning_customers,
           CASE WHEN day = :day THEN top_products ELSE '[]' END AS top_products
    FROM daily_metrics WHERE day > CAST(:day AS date) - CAST(:days AS int) AND day <= :day
    ORDER BY day DESC, orders DESC, currency
""")
NOTHING = dict.fromkeys(("orders", "revenue", "average_order_value", "new_customers", "returning_customers"), 0)


async def facts(tx: AsyncSession, kind: str, order_id: str | None, data: dict[str, Any]) -> dict[str, Any]:
    """Return what the templates of a kind need beside what was queued with the mail."""
    reader = READERS.get(kind)
    return data | (await reader(tx, {"order_id": order_id} | data) if reader else {})


async def _shipped(tx: AsyncSession, about: dict[str, Any]) -> dict[str, Any]:
    order_id = about["order_id"]
    order = (await tx.execute(ORDER, {"order_id": order_id})).mappings().one()
    lines = (await tx.execute(LINES, {"order_id": order_id, "limit": MAX_LINES})).mappings().all()
    return dict(order) | {"lines": lines, "more_lines": order["line_count"] - len(lines)}


async def _shortage(tx: AsyncSession, about: dict[str, Any]) -> dict[str, Any]:
    """Return the short items as the refusal's event has them, at most 100, and how many more there are."""
    event = (await tx.execute(SHORTAGE, {"order_id": about["order_id"]})).one_or_none()
    if event is None:
        return {}
    return {"items": event.data["items"], "more_items": event.data["count"] - len(event.data["items"])}


async def _welcome(tx: AsyncSession, about: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(CUSTOMER, {"customer_id": about["customer_id"]})).mappings().one())


async def _daily_report(tx: AsyncSession, about: dict[str, Any]) -> dict[str, Any]:
    """Return the day's figures beside those of the day before and of a week before, per currency.

    Currencies: those of the day, and those that only an earlier one had orders in. A day that was never counted is
    None, in the points of the chart too; one that was counted had nothing in the currencies it has no row for.
    """
    day = date.fromisoformat(about["day"])
    days = [day - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    rows = (await tx.execute(METRICS, {"day": day, "days": DAYS})).mappings().all()
    counted = {row["day"] for row in rows}
    known = {(row["day"], row["currency"]): dict(row) for row in rows}

    def of(day: date, currency: str) -> dict[str, Any] | None:
        nothing = NOTHING | {"day": day, "currency": currency, "top_products": []}
        return known.get((day, currency), nothing) if day in counted else None

    compared = [day, day - timedelta(days=1), day - timedelta(days=7)]
    shown = [row["currency"] for row in rows if row["day"] == day or (row["day"] in compared and row["orders"])]
    parts = [
        {
            "currency": currency,
            "figures": [of(day, currency) for day in compared],
            "points": [(day, figures["revenue"] if (figures := of(day, currency)) else None) for day in days],
            "chart": f"revenue-{currency.lower()}@{day}.daily-report",
        }
        for currency in dict.fromkeys(shown)
    ]
    return {"day": day, "compared": compared[1:], "parts": parts}


READERS = {
    "order-shipped": _shipped,
    "insufficient-inventory": _shortage,
    "welcome": _welcome,
    "daily-report": _daily_report,
}


async def images(kind: str, told: dict[str, Any]) -> Sequence[Image]:
    """Return the images that the templates of a kind refer to, drawn from its facts in a thread."""
    painter = PAINTERS.get(kind)
    return await asyncio.to_thread(painter, told) if painter else ()


def _revenue_charts(told: dict[str, Any]) -> Sequence[Image]:
    return [Image(part["chart"], revenue_chart(part["points"], part["currency"])) for part in told["parts"]]


PAINTERS = {"daily-report": _revenue_charts}
