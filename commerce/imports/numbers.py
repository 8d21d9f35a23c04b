"""Read numbers as people and spreadsheets write them: decimal commas, thousands separators, currency symbols."""

import re
from functools import lru_cache
from typing import NamedTuple

from commerce.imports.input_file import DecimalMark
from commerce.imports.parsers import BadValue

MARKS: dict[DecimalMark, str] = {"point": ".", "comma": ","}
BLANKS = "[ '\u2019\u00a0\u202f]"  # also thousands separators
GROUPED_BY_BLANKS = re.compile(rf"\d{{1,3}}(?:{BLANKS}\d{{3}})+(?=[.,]|$)", re.ASCII)
NUMBER = re.compile(r"-?\d[\d.,]*", re.ASCII)
SYMBOL = (
    r"(?:[A-Za-z]{0,3}[$\u00a3\u20ac\u00a5\u20b9\u20a9\u20ba\u20ab\u20aa\u20b4]|[A-Z]{3}|kr\.?|z\u0142|K\u010d|Ft|lei)"
)
WITH_SYMBOL = re.compile(rf"(-?)(?:{SYMBOL}{BLANKS}?)?(-?[\d][\d.,]*)(?:{BLANKS}?{SYMBOL})?", re.ASCII)
ONE_MARK = re.compile(r"(-?\d+)([.,])(\d+)", re.ASCII)
GROUPED = re.compile(r"-?\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*(?:(?!\1)[.,]\d+)?", re.ASCII)
SHORTENED = re.compile(r"\d(?:[.,]\d+)?E\+\d{2,}", re.ASCII)


class _Parts(NamedTuple):
    """A number without thousands separators; `unclear` if it may have been one with them."""

    text: str  # with a decimal point
    unclear: bool = False


@lru_cache(1_000)
def plain_amount(text: str, decimal: DecimalMark | None, *, symbols: bool) -> str:
    """Return an amount like 1234.50; text that is no number, or that may be two, stays for the parser to judge.

    `decimal` is the file's mark, which decides amounts like 1,234. Currency symbols are removed if `symbols` is true.
    """
    parts = _split(_without_symbol(text) if symbols else text, decimal)
    if parts is None or parts.unclear:
        return text
    return _trim_zeros(parts.text)


def plain_count(text: str, decimal: DecimalMark | None) -> str:
    """Return a number of units like 12 for 12.0 and 1,200; other text stays. Raises BadValue if it has two meanings."""
    parts = _split(text, decimal)
    if parts is None:
        return text
    if parts.unclear:
        raise _unclear(text)
    whole, _, fraction = parts.text.partition(".")
    return text if fraction.strip("0") else whole


def mark_of(text: str) -> DecimalMark | None:
    """Return which decimal mark an amount shows beyond doubt."""
    bare = _without_symbol(text.strip())
    parts = _split(bare, None)
    if parts is None or parts.unclear or "." not in parts.text:
        return None
    return "comma" if bare.rfind(",") > bare.rfind(".") else "point"


def is_shortened(text: str) -> bool:
    """Return whether a spreadsheet wrote this for a long number, like 4.54175E+12: its digits are lost."""
    return SHORTENED.fullmatch(text) is not None


def _split(text: str, decimal: DecimalMark | None) -> _Parts | None:
    """Return the number; None if the text is none that is written well."""
    if grouped := GROUPED_BY_BLANKS.match(text.removeprefix("-")):
        sign = "-" if text.startswith("-") else ""
        rest = text.removeprefix("-")[grouped.end() :]
        return _split(sign + re.sub(BLANKS, "", grouped[0]) + rest, "comma" if rest.startswith(",") else "point")
    if not NUMBER.fullmatch(text):
        return None
    if text.lstrip("-").isdigit():
        return _Parts(text)
    if one := ONE_MARK.fullmatch(text):
        whole, mark, fraction = one.groups()
        if len(fraction) != 3 or len(whole.lstrip("-")) > 3 or whole.lstrip("-").startswith("0"):
            return _Parts(f"{whole}.{fraction}")
        if decimal is None:
            return _Parts(f"{whole}.{fraction}", unclear=True)
        return _Parts(f"{whole}.{fraction}" if mark == MARKS[decimal] else whole + fraction)
    if grouping := GROUPED.fullmatch(text):
        return _Parts(text.replace(grouping[1], "").replace(",", "."))
    return None


def _without_symbol(text: str) -> str:
    match = WITH_SYMBOL.fullmatch(text)
    return text if match is None else match[1] + match[2]


def _trim_zeros(text: str) -> str:
    """Return 12.50 for 12.5000, as some shops write it; fewer than three decimals stay."""
    whole, mark, fraction = text.partition(".")
    return f"{whole}{mark}{fraction[:2]}{fraction[2:].rstrip('0')}"


def _unclear(text: str) -> BadValue:
    mark = "," if "," in text else "."
    return BadValue(
        f"has a {mark!r} that may be a decimal mark or separate thousands: say --decimal point or --decimal comma"
    )
