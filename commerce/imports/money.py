"""Parse amounts of money into minor units: cents for most currencies, whole yen, thousandths of a dinar."""

import re
import unicodedata
from collections.abc import Callable
from functools import cache

from commerce.currencies import decimals_of
from commerce.imports.parsers import BadValue

MAX_MINOR_UNITS = 10**15 - 1  # of any currency; sums of thousands of them still fit a bigint
AMOUNT = re.compile(r"([0-9]{1,30})(?:\.([0-9]{1,10}))?")
# As people and spreadsheets write them: 1,234.50 or 1.234,50 or 1 234,50 or 1'234.50, all with groups of three digits.
GROUPED = re.compile(r"([0-9]{1,3}(?:([ ,.'’])[0-9]{3})(?:\2[0-9]{3}){0,9})(?:([.,])([0-9]{1,10}))?")
DECIMAL_COMMA = re.compile(r"([0-9]{1,30}),([0-9]{1,10})")
SPACES = str.maketrans(dict.fromkeys("\N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}", " "))
MINUS_SIGNS = "-\N{MINUS SIGN}"
THOUSANDTHS = 3  # decimals, as many digits as a group has
EXAMPLE = "must be an amount of at least 0, like 12.50"
AMBIGUOUS = "may mean thousands or decimals: write it like 1234.50, with a point and without separators of thousands"


@cache
def amount(currency: str) -> Callable[[str], int]:
    """Return a parser for an amount of at least 0, in minor units; extra decimals must be zeros, as in 750.00 yen.

    Besides `1234.50` it reads `1,234.50`, `1.234,50`, `£1,234.50` and `1234.50 GBP`, but no other currency's code. An
    amount that can mean thousands as well as decimals is a BadValue.
    """
    parse_signed = signed_amount(currency)

    def parse(value: str) -> int:
        if (minor_units := parse_signed(value)) < 0:
            raise BadValue(EXAMPLE)
        return minor_units

    return parse


@cache
def signed_amount(currency: str) -> Callable[[str], int]:
    """Return a parser like `amount` that also reads negative amounts: `-5.00`, `-£5.00` or `(5.00)`."""
    decimals = decimals_of(currency)

    def parse(value: str) -> int:
        negative = False
        match = AMOUNT.fullmatch(value)
        if match is not None:
            whole, fraction = match[1], match[2] or ""
        else:
            negative, whole, fraction = _split(value, currency, decimals)
        if len(fraction) > decimals:
            if fraction[decimals:].strip("0"):
                raise BadValue(f"must have at most {decimals} decimals in this currency")
            if len(fraction) == THOUSANDTHS and len(whole) <= THOUSANDTHS and not whole.startswith("0"):  # 1.000
                raise BadValue(AMBIGUOUS)
            fraction = fraction[:decimals]
        minor_units = check_amount(int(whole + fraction.ljust(decimals, "0")))
        return -minor_units if negative else minor_units

    return parse


def _split(value: str, currency: str, decimals: int) -> tuple[bool, str, str]:
    """Return whether an amount is negative, its whole digits and its decimals."""
    digits, negative = _without_sign_and_currency(value.translate(SPACES), currency)
    if match := AMOUNT.fullmatch(digits):
        return negative, match[1], match[2] or ""
    grouped, comma = GROUPED.fullmatch(digits), DECIMAL_COMMA.fullmatch(digits)
    if grouped and grouped[2] == grouped[3]:  # 1,234,50
        grouped = None
    if grouped and comma and not digits.startswith("0"):  # 1,234
        if decimals >= THOUSANDTHS:
            raise BadValue(AMBIGUOUS)
        comma = None
    if comma:
        return negative, comma[1], comma[2]
    if grouped is None:
        raise BadValue(EXAMPLE)
    return negative, grouped[1].replace(grouped[2], ""), grouped[4] or ""


def _without_sign_and_currency(value: str, currency: str) -> tuple[str, bool]:
    """Return an amount without its sign, the brackets of a negative one, its currency's code and currency symbols."""
    negative = value.startswith("(") and value.endswith(")")
    if negative:
        value = value[1:-1]
    for _ in range(2):  # -£5.00 and £-5.00
        if value[:1] and value[0] in MINUS_SIGNS and not negative:
            negative, value = True, value[1:].lstrip()
        if value[:3].upper() == currency or value[-3:].upper() == currency:
            value = value[3:] if value[:3].upper() == currency else value[:-3]
        if value[:1] and unicodedata.category(value[0]) == "Sc":
            value = value[1:]
        if value[-1:] and unicodedata.category(value[-1]) == "Sc":
            value = value[:-1]
        value = value.strip()
    return value, negative


def check_amount(minor_units: int) -> int:
    """Return this amount; raise BadValue if it is larger than the database can add up."""
    if minor_units > MAX_MINOR_UNITS:
        raise BadValue(f"must be at most {MAX_MINOR_UNITS:,} minor units")
    return minor_units
