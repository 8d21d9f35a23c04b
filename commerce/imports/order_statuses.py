"""The statuses that shops write into their exports, and what they mean for us."""

from collections.abc import Callable, Mapping, Set

from commerce.imports.parsers import choice

PAYMENT_STATUSES = {
    "paid": "captured",
    "authorized": "authorized",
    "pending": "awaiting",
    "partially_paid": "partially_captured",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
    "voided": "cancelled",
    "expired": "expired",
}
# Orders that are `scheduled` or `on_hold` wait until the shop says otherwise; `restocked` ones are never shipped.
FULFILLMENT_STATUSES = {
    "": "not_fulfilled",
    "unfulfilled": "not_fulfilled",
    "partial": "partially_fulfilled",
    "fulfilled": "fulfilled_elsewhere",
    "restocked": "restocked",
    "scheduled": "scheduled",
    "on_hold": "on_hold",
}
LINE_STATUSES = {
    "": "not_fulfilled",
    "pending": "not_fulfilled",
    "unfulfilled": "not_fulfilled",
    "scheduled": "not_fulfilled",
    "on_hold": "not_fulfilled",
    "partial": "partially_fulfilled",
    "fulfilled": "fulfilled_elsewhere",
    "restocked": "restocked",
}
LINES_DIFFER = "says that the whole order is still to be fulfilled, but not all of its lines are: the lines count"
OPEN = {"not_fulfilled", "scheduled", "on_hold"}  # all of the order is still to be shipped


def _status(values: Mapping[str, str]) -> Callable[[str | None], str]:
    """Return a parser for one of these statuses, in any case, and with blanks or hyphens for underscores."""
    parse = choice(values)
    return lambda value: parse((value or "").replace(" ", "_").replace("-", "_"))


parse_payment_status, parse_fulfillment_status = _status(PAYMENT_STATUSES), _status(FULFILLMENT_STATUSES)
parse_line_status = _status(LINE_STATUSES)


def whole_order_status(status: str, lines: Set[tuple[str, bool]]) -> tuple[str, str]:
    """Return an order's fulfillment status and what is odd about it, empty if nothing is.

    `lines`: the status of each line with units, and whether it requires shipping. Shops fulfill gift cards and the like
    by themselves: that alone does not fulfill an order in part. An order that is open as a whole although some of its
    lines are not would ship them again, so the lines count.
    """
    to_ship = {each for each, requires_shipping in lines if requires_shipping}
    if to_ship == {"not_fulfilled"} and {each for each, _ in lines} <= {"not_fulfilled", "fulfilled_elsewhere"}:
        is_explained = ("fulfilled_elsewhere", False) in lines
        return "not_fulfilled" if status == "partially_fulfilled" and is_explained else status, ""
    statuses = {each for each, _ in lines}
    if status not in OPEN or statuses <= {"not_fulfilled"}:
        return status, ""
    one = next(iter(statuses)) if len(statuses) == 1 else ""
    return one if one in ("fulfilled_elsewhere", "restocked") else "partially_fulfilled", LINES_DIFFER
