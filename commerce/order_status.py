"""The status of an order, as operators see it and lists filter by it. One definition for queries and indexes."""

from collections.abc import Mapping
from functools import reduce

from commerce.open_orders import IS_OPEN, MAY_BE_OPEN

NOT_CANCELLED = "orders.cancelled_at IS NULL AND orders.payment_status <> 'cancelled'"
SETTLED = "orders.cancellation IS DISTINCT FROM 'cancelling'"
UNSHIPPED = f"{NOT_CANCELLED} AND orders.fulfillment_status NOT IN ('fulfilled', 'fulfilled_elsewhere') AND {SETTLED}"
# Each order that is not open meets exactly one of these conditions, which depend on the order alone: each has a partial
# index. An order that awaits payment can be open all the same, if its payment method is one of those paid later, and so
# can one whose payment is authorized, if that is captured here.
CLOSED: Mapping[str, str] = {
    "cancelling": "orders.cancellation = 'cancelling'",
    "fulfilled": f"orders.fulfillment_status = 'fulfilled' AND {SETTLED}",
    "cancelled": f"NOT ({NOT_CANCELLED}) AND orders.fulfillment_status <> 'fulfilled' AND {SETTLED}",
    "fulfilled_elsewhere": f"{NOT_CANCELLED} AND orders.fulfillment_status = 'fulfilled_elsewhere' AND {SETTLED}",
    "unpaid": f"""{UNSHIPPED}
             AND orders.payment_status IN ('awaiting', 'authorized', 'partially_captured', 'expired')""",
    "other": f"""{UNSHIPPED} AND orders.payment_status IN ('captured', 'partially_refunded', 'refunded')
             AND (orders.payment_status = 'refunded' OR orders.fulfillment_status <> 'not_fulfilled')""",
}
OPEN: Mapping[str, str] = {
    "on_hold": "orders.hold_reason IS NOT NULL",
    "waiting_for_stock": "orders.hold_reason IS NULL AND orders.waits_for_backorders IS NOT NULL",
    "open": "orders.hold_reason IS NULL AND orders.waits_for_backorders IS NULL",
}
INDEXED: Mapping[str, str] = {**CLOSED, "waiting_for_stock": f"{MAY_BE_OPEN} AND {OPEN['waiting_for_stock']}"}
STATUS = f"""CASE WHEN {IS_OPEN} THEN CASE {" ".join(f"WHEN {when} THEN '{name}'" for name, when in OPEN.items())} END
             {" ".join(f"WHEN {when} THEN '{name}'" for name, when in CLOSED.items())} END"""
# `simple` has no language, so it knows no stop words. Written with all its parentheses, as PostgreSQL returns it: a
# test compares the index with this.
_SEARCHED = ("external_id", "name", "email", "shipping_name", "shipping_company", "billing_name")
_ALL = reduce(lambda left, column: f"(({left} || ' ') || coalesce(orders.{column}, ''))", _SEARCHED, "orders.id")
WORDS = f"to_tsvector('simple', {_ALL[1:-1]})"


# Most orders that await payment are not open. This excludes them without looking them up one by one.
MAY_BE_PAID = """(orders.payment_status <> 'authorized' OR EXISTS (SELECT FROM capturable_payments))
             AND (orders.payment_status <> 'awaiting'
             OR lower(btrim(orders.payment_method)) = ANY (ARRAY(SELECT method FROM ship_unpaid_methods)))"""


def has_status(status: str) -> str:
    """Return the SQL condition that an order has this status, for which there is an index."""
    if status in OPEN:
        return f"{MAY_BE_PAID} AND {IS_OPEN} AND {OPEN[status]}"
    return CLOSED[status] + (f" AND NOT ({IS_OPEN})" if status == "unpaid" else "")
