"""Load the data of a mail's templates from the database, at the time it is sent."""

from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.mail.charts import DAYS, bars
from commerce.mail.order_totals import included_tax, total_rows
from commerce.messages.returns import return_process_id

MAX_LINES = 30  # order lines in a mail; the others are only counted

NUMBER = text("SELECT number FROM orders WHERE id = :order_id")
ORDER = text("""
    SELECT id AS order_id, shipping_name AS name, currency, total, shipping_total, discount_total, discount_code,
           tax_total, taxes_included, duties_total, tip_total, refunded_total, shipping_method,
           ARRAY(SELECT tracking_number FROM fulfillments
                 WHERE order_id = orders.id AND cancelled_at IS NULL AND tracking_number IS NOT NULL
                 ORDER BY position) AS tracking_numbers,
           (SELECT count(*) FROM order_lines
            WHERE order_id = orders.id AND (quantity > 0 OR refunded_quantity > 0)) AS line_count,
           (SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE order_id = orders.id) AS units,
           (SELECT coalesce(sum((CAST(quantity AS numeric) + coalesce(refunded_quantity, 0)) * unit_price), 0)
            FROM order_lines WHERE order_id = orders.id) AS goods
    FROM orders WHERE id = :order_id
""")
ORDER_LINES = text("""
    SELECT sku, title, quantity, unit_price, requires_shipping, coalesce(refunded_quantity, 0) AS refunded,
           (CAST(quantity AS numeric) + coalesce(refunded_quantity, 0)) * unit_price AS amount
    FROM order_lines WHERE order_id = :order_id AND (quantity > 0 OR refunded_quantity > 0)
    ORDER BY position LIMIT :limit
""")
MISSING_ITEMS = text("""
    SELECT data FROM outbox_events
    WHERE aggregate = 'order/' || CAST(:order_id AS text) AND type = 'order.insufficient_inventory'
    ORDER BY sequence DESC LIMIT 1
""")

REVIEW = text("""
    SELECT total, currency, risk_level AS risk, billing_country, shipping_country, until,
           (SELECT coalesce(sum(quantity), 0) FROM order_lines WHERE order_id = orders.id) AS units
    FROM orders, step_waits WHERE orders.id = :order_id AND step_waits.id = CAST(:wait_id AS uuid)
""")
UNTIL = text("SELECT until FROM step_waits WHERE id = CAST(:wait_id AS uuid)")
CANCELLED = text("""
    SELECT shipping_name AS name, currency,
           (SELECT coalesce(sum(amount), 0) FROM order_refunds
            WHERE order_id = orders.id AND state IN ('made', 'pending')) AS refunded,
           (SELECT coalesce(sum(amount), 0) FROM order_refunds
            WHERE order_id = orders.id AND state = 'due') AS refund_due
    FROM orders WHERE id = :order_id
""")
SHOP_REFUND = text("""
    SELECT refund.amount, currency, until, business_key AS process
    FROM step_waits, order_refunds AS refund JOIN orders ON orders.id = order_id
    WHERE order_id = :order_id AND refund.provider = 'shop' AND step_waits.id = CAST(:wait_id AS uuid)
    ORDER BY refund.purpose = business_key DESC, refund.created_at DESC LIMIT 1
""")
RETURN = text("""
    SELECT shipping_name AS name, currency, tracking_number, label_url, carrier,
           (SELECT CAST(sum(quantity) AS bigint) FROM order_return_lines WHERE return_id = returned.id) AS units,
           (SELECT CAST(coalesce(sum(received), 0) AS bigint) FROM order_return_lines
            WHERE return_id = returned.id) AS received,
           (SELECT count(*) FROM order_return_lines WHERE return_id = returned.id) AS line_count,
           (SELECT coalesce(sum(amount), 0) FROM order_refunds
            WHERE order_id = orders.id AND purpose = :purpose AND state <> 'due') AS refunded,
           (SELECT coalesce(sum(amount), 0) FROM order_refunds
            WHERE order_id = orders.id AND purpose = :purpose AND state = 'due') AS refund_due
    FROM order_returns AS returned JOIN orders ON orders.id = order_id WHERE returned.id = :return_id
""")
RETURN_LINES = text("""
    SELECT sku, title, part.quantity, received
    FROM order_return_lines AS part JOIN order_lines ON order_lines.id = order_line_id
    WHERE return_id = :return_id ORDER BY position LIMIT :limit
""")
CUSTOMER = text("SELECT first_name FROM customers WHERE id = CAST(:customer_id AS uuid)")
METRICS = text("""
    SELECT day, currency, orders, revenue, average_order_value, new_customers, returning_customers, awaiting, refunded,
           change IS NOT NULL AS changed, CASE WHEN day = :day THEN top_products ELSE '[]' END AS top_products
    FROM daily_metrics WHERE day > CAST(:day AS date) - CAST(:days AS int) AND day <= :day
    ORDER BY day DESC, orders DESC, currency
""")
CHANGED_DAYS = text("""
    SELECT day, currency, revenue, reported_revenue FROM daily_metrics
    WHERE day = ANY(CAST(:days AS date[])) AND (orders > 0 OR revenue <> 0 OR reported_revenue <> 0)
    ORDER BY day DESC, orders DESC, currency
""")
ZEROS = dict.fromkeys(
    ("orders", "revenue", "average_order_value", "new_customers", "returning_customers", "awaiting", "refunded"), 0
)


async def load_template_data(
    tx: AsyncSession, kind: str, order_id: str | None, queued: dict[str, Any]
) -> dict[str, Any]:
    """Return the variables of a kind's templates: the data queued with the mail, and what its loader adds.

    A notification about an order has its `number`, as customers know it.
    """
    number = await tx.scalar(NUMBER, {"order_id": order_id}) if order_id else None
    load = LOADERS.get(kind)
    loaded = await load(tx, {"order_id": order_id} | queued) if load else {}
    return queued | ({"number": number} if number else {}) | loaded


async def _order_shipped(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    order_id = queued["order_id"]
    order = dict((await tx.execute(ORDER, {"order_id": order_id})).mappings().one())
    lines = (await tx.execute(ORDER_LINES, {"order_id": order_id, "limit": MAX_LINES})).mappings().all()
    state = "ready" if queued.get("pickup") else "shipped" if order["tracking_numbers"] else "fulfilled"
    return order | {
        "state": state,
        "lines": lines,
        "more_lines": order["line_count"] - len(lines),
        "totals": total_rows(order, int(order["goods"])),
        "included_tax": included_tax(order),
    }


async def _insufficient_inventory(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    """Return the missing items listed in the order's latest event, at most 100, and how many more there are."""
    event = (await tx.execute(MISSING_ITEMS, {"order_id": queued["order_id"]})).one_or_none()
    if event is None:
        return {}
    return {"items": event.data["items"], "more_items": event.data["count"] - len(event.data["items"])}


async def _order_review(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(REVIEW, queued)).mappings().one())


async def _confirm_address(_tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return {"until": datetime.fromisoformat(queued["until"])}


async def _refund_at_shop(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(SHOP_REFUND, queued)).mappings().one())


async def _cancellation_offer(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(UNTIL, queued)).mappings().one())


async def _order_cancelled(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(CANCELLED, queued)).mappings().one())


async def _return(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    """Return what a mail about a return says. `until`: when it is closed, if the goods are still waited for."""
    values = {"return_id": queued["return_id"], "purpose": return_process_id(queued["return_id"]), "limit": MAX_LINES}
    found = dict((await tx.execute(RETURN, values)).mappings().one())
    lines = (await tx.execute(RETURN_LINES, values)).mappings().all()
    until = {"until": datetime.fromisoformat(queued["until"])} if "until" in queued else {}
    return found | until | {"lines": lines, "more_lines": found["line_count"] - len(lines)}


async def _welcome(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    return dict((await tx.execute(CUSTOMER, {"customer_id": queued["customer_id"]})).mappings().one())


async def _daily_report(tx: AsyncSession, queued: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of the day, the day before and a week before, per currency, and a chart of the last 30 days.

    Currencies: those of the day, and those that had orders or refunds on one of the two earlier days. The figures of a
    day that was never counted are None; on a day that was counted, a currency without a row had no orders. `changed`
    has the days that were counted again since the report before, each with its currencies.
    """
    day = date.fromisoformat(queued["day"])
    days = [day - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    rows = (await tx.execute(METRICS, {"day": day, "days": DAYS})).mappings().all()
    counted_days = {row["day"]: row["changed"] for row in rows}
    stored = {(row["day"], row["currency"]): dict(row) for row in rows}

    def figures(day: date, currency: str) -> dict[str, Any] | None:
        zeros: dict[str, Any] = ZEROS | {
            "day": day,
            "currency": currency,
            "top_products": [],
            "changed": counted_days.get(day),
        }
        return stored.get((day, currency), zeros) if day in counted_days else None

    def revenue(day: date, currency: str) -> int | None:
        found = figures(day, currency)
        return found["revenue"] if found else None

    compared = [day, day - timedelta(days=1), day - timedelta(days=7)]
    shown = [
        row["currency"]
        for row in rows
        if row["day"] == day or (row["day"] in compared and (row["orders"] or row["revenue"]))
    ]
    parts = [
        {
            "currency": currency,
            "figures": [figures(day, currency) for day in compared],
            "bars": bars([(day, revenue(day, currency)) for day in days]),
        }
        for currency in dict.fromkeys(shown)
    ]
    return {
        "day": day,
        "compared": [(earlier, counted_days.get(earlier, False)) for earlier in compared[1:]],
        "parts": parts,
        "changed": await _changed_days(tx, queued.get("changed", [])),
        "more_changed": queued.get("more_changed", 0),
    }


async def _changed_days(tx: AsyncSession, days: list[str]) -> list[dict[str, Any]]:
    """Return the days, each with the revenue per currency: now, and as it was reported."""
    if not days:
        return []
    changed = [date.fromisoformat(day) for day in days]
    rows = (await tx.execute(CHANGED_DAYS, {"days": changed})).mappings().all()
    return [{"day": day, "currencies": [row for row in rows if row["day"] == day]} for day in changed]


LOADERS = {
    "order-shipped": _order_shipped,
    "insufficient-inventory": _insufficient_inventory,
    "order-review": _order_review,
    "refund-at-shop": _refund_at_shop,
    "cancellation-offer": _cancellation_offer,
    "order-cancelled": _order_cancelled,
    "return-label": _return,
    "return-closed": _return,
    "order-returned": _return,
    "confirm-address": _confirm_address,
    "welcome": _welcome,
    "daily-report": _daily_report,
}
