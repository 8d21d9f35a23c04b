"""The amounts below an order's lines in a mail: what is shown always adds up to the total."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple


class TotalRow(NamedTuple):
    """One amount, in minor units; negative if it lowers the total."""

    label: str
    amount: int


def total_rows(order: Mapping[str, Any], goods: int) -> list[TotalRow]:
    """Return the amounts between the lines and the total, none if the lines are the total; `goods` are the lines.

    An order whose amounts do not add up to its total, such as one from an old system, gets an `Adjustment`.
    """
    rows = [row for row in _rows(order) if row.amount]
    if adjustment := order["total"] - goods - sum(row.amount for row in rows):
        rows.append(TotalRow("Adjustment", adjustment))
    return [TotalRow("Subtotal", goods), *rows] if rows else []


def _rows(order: Mapping[str, Any]) -> Iterator[TotalRow]:
    code = order["discount_code"]
    yield TotalRow(f"Discount ({code})" if code else "Discount", -order["discount_total"])
    yield TotalRow("Shipping", order["shipping_total"])
    yield TotalRow("Duties", order["duties_total"])
    yield TotalRow("Tip", order["tip_total"])
    if order["taxes_included"] is False:
        yield TotalRow("Tax", order["tax_total"])


def included_tax(order: Mapping[str, Any]) -> int:
    """Return the taxes that the prices contain, in minor units."""
    amount: int = order["tax_total"] if order["taxes_included"] else 0
    return amount
