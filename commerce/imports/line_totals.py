"""Prices of one unit, where a file has only the total of a line."""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation

LINE_TOTAL = "Lineitem total"  # a column of maps only


def split_total(total: str, quantity: str, decimals: int) -> Iterator[tuple[str, str]]:
    """Yield quantities with their price, which add up to the total: 10.00 for 3 is 1 at 3.34 and 2 at 3.33.

    `decimals` are those of the currency, to which the total is rounded. What is no number is left to the parsers: the
    total is then the price.
    """
    try:
        amount, units = Decimal(total), int(Decimal(quantity))
        if units < 1 or units != Decimal(quantity) or not amount.is_finite() or amount < 0:
            raise InvalidOperation
    except (InvalidOperation, ValueError, OverflowError):
        yield quantity, total
        return
    minor = int(amount.scaleb(decimals).to_integral_value(ROUND_HALF_UP))
    low, more = divmod(minor, units)
    for count, price in ((more, low + 1), (units - more, low)):
        if count:
            yield str(count), str(Decimal(price).scaleb(-decimals))
