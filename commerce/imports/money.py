"""Amounts as files write them, in minor units: cents of most currencies, yen as they are, thousandths of a dinar."""

import re
from collections.abc import Callable
from functools import cache

from commerce.imports.cells import BadValue

MAX_MINOR_UNITS = 10**15 - 1  # of any currency; sums of thousands of them still fit a bigint
USUAL_DIGITS = 2
# ISO 4217: by number of decimals, the currencies whose minor unit is not a hundredth.
UNUSUAL_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
MINOR_DIGITS = {code: digits for digits, codes in UNUSUAL_DIGITS.items() for code in codes.split()}
AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,4}))?")


@cache
def money(currency: str) -> Callable[[str], int]:
    """Return the reader of an amount like 12.50 as minor units; zeros beyond the currency's decimals are fine."""
    digits = MINOR_DIGITS.get(currency, USUAL_DIGITS)
    written = max(digits, USUAL_DIGITS)

    def read(cell: str) -> int:
        match = AMOUNT.fullmatch(cell)
        if match is None:
            raise BadValue("must be an amount of at least 0, like 12.50")
        decimals = (match[2] or "").ljust(written, "0")
        if len(decimals) > written or decimals[digits:].strip("0"):
            raise BadValue(f"must have at most {digits} decimals in this currency")
        return bounded(int(match[1] + decimals[:digits]))

    return read


def bounded(minor_units: int) -> int:
    """Return this amount; raises BadValue where it is beyond anything that is paid."""
    if minor_units > MAX_MINOR_UNITS:
        raise BadValue(f"must be at most {MAX_MINOR_UNITS:,} minor units")
    return minor_units
