"""Parse amounts of money into minor units: cents for most currencies, whole yen, thousandths of a dinar."""

import re
from collections.abc import Callable
from functools import cache

from commerce.currencies import USUAL_DECIMALS, decimals_of
from commerce.imports.parsers import BadValue

MAX_MINOR_UNITS = 10**15 - 1  # of any currency; sums of thousands of them still fit a bigint
AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,4}))?")


@cache
def amount(currency: str) -> Callable[[str], int]:
    """Return a parser for an amount like 12.50, in minor units; extra decimals must be zeros, as in 750.00 yen."""
    decimals = decimals_of(currency)
    max_decimals = max(decimals, USUAL_DECIMALS)

    def parse(value: str) -> int:
        match = AMOUNT.fullmatch(value)
        if match is None:
            raise BadValue("must be an amount of at least 0, like 12.50")
        fraction = (match[2] or "").ljust(max_decimals, "0")
        if len(fraction) > max_decimals or fraction[decimals:].strip("0"):
            raise BadValue(f"must have at most {decimals} decimals in this currency")
        return check_amount(int(match[1] + fraction[:decimals]))

    return parse


def check_amount(minor_units: int) -> int:
    """Return this amount; raise BadValue if it is larger than the database can add up."""
    if minor_units > MAX_MINOR_UNITS:
        raise BadValue(f"must be at most {MAX_MINOR_UNITS:,} minor units")
    return minor_units
