"""How a cell of a file becomes a value; one that does not fit says why, without what it holds."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TypeVar

from commerce.email_addresses import COMPOSED_OF, normalised

T = TypeVar("T")

MAX_COUNT = 2**31 - 1  # what an integer column holds
MAX_EMAIL = 320  # characters
SHORT_TEXT = 255  # characters: ids, SKUs, names of places and methods
LONG_TEXT = 1_000  # characters: titles and address lines

COUNT = re.compile(r"[0-9]{1,30}")
CURRENCY = re.compile(r"[A-Z]{3}")
ORDER_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ Tt]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?([Zz]|[+-][0-9]{2}:?(?:[0-9]{2})?)?"
)


class BadValue(Exception):
    """A cell does not fit; the message is the reason and never holds the cell's content, which may be personal."""


def text(limit: int) -> Callable[[str], str]:
    """Return the reader of a text of so many characters at most; it may be empty."""

    def read(cell: str) -> str:
        if "\0" in cell:
            raise BadValue("must not hold NUL characters")
        if len(cell) > limit:
            raise BadValue(f"must not be longer than {limit:,} characters")
        return cell

    return read


def filled(read: Callable[[str], T]) -> Callable[[str], T]:
    """Return the reader of a cell that must not be empty."""

    def read_filled(cell: str) -> T:
        if not cell:
            raise BadValue("must not be empty")
        return read(cell)

    return read_filled


def optional(read: Callable[[str], T]) -> Callable[[str], T | None]:
    """Return the reader of a cell that says nothing (None) when it is empty."""
    return lambda cell: read(cell) if cell else None


def word(words: Mapping[str, T]) -> Callable[[str], T]:
    """Return the reader of one of these words, in any case; the empty word is one where it is listed."""
    names = " or ".join(filter(None, ["empty" if "" in words else "", "one of " + ", ".join(filter(None, words))]))

    def read(cell: str) -> T:
        try:
            return words[cell.lower()]
        except KeyError:
            raise BadValue(f"must be {names}") from None

    return read


def count(least: int) -> Callable[[str], int]:
    """Return the reader of a whole number of at least this many."""

    def read(cell: str) -> int:
        number = int(cell) if COUNT.fullmatch(cell) else -1
        if number < least:
            raise BadValue(f"must be a whole number of at least {least}")
        if number > MAX_COUNT:
            raise BadValue(f"must be at most {MAX_COUNT:,}")
        return number

    return read


def moment(cell: str) -> datetime:
    """Return this point in time in UTC; ISO 8601, or the shop admins' own `2010-11-15 08:34:00 +0000`."""
    match = MOMENT.fullmatch(cell)
    if match is None:
        raise BadValue("must be a time like 2010-11-15 08:34:00 +0000")
    day, time, offset = match.groups()
    if offset is None:
        raise BadValue("must say its offset from UTC, like 2010-11-15 08:34:00 +0000")
    try:
        return datetime.fromisoformat(f"{day} {time}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("must be a time that exists") from None


def currency(cell: str) -> str:
    """Return this ISO 4217 code."""
    if not CURRENCY.fullmatch(cell.upper()):
        raise BadValue("must be three letters, like GBP")
    return cell.upper()


def order_id(cell: str) -> str:
    """Return this order id, which also names its process."""
    if not ORDER_ID.fullmatch(cell):
        raise BadValue("must be 1 to 100 of the characters A-Z a-z 0-9 . _ : -")
    return cell


def email(cell: str) -> str:
    """Return this address in the form customers are known by; any that has two parts will do for a guest."""
    if len(cell) > MAX_EMAIL * COMPOSED_OF:
        raise BadValue(f"must not be longer than {MAX_EMAIL} characters")
    address = unicodedata.normalize("NFC", cell.lower())
    local, at, domain = address.partition("@")
    if not (local and at and domain) or "@" in domain or " " in address or not address.isprintable():
        raise BadValue("must be an e-mail address")
    if len(address) > MAX_EMAIL:
        raise BadValue(f"must not be longer than {MAX_EMAIL} characters")
    return normalised(cell)


def unquoted(cell: str) -> str:
    """Return this cell without the apostrophe that shop admins put before numbers, for spreadsheets' sake."""
    return cell.removeprefix("'")
