"""Parse the text of one field. Every parser returns the value or raises BadValue; amounts are in `money`."""

import re
import unicodedata
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

from commerce.email_addresses import NFC_MAX_SHRINK, normalise_address
from commerce.messages.base import FieldError
from commerce.order_identity import OWN_ID

T = TypeVar("T")

MAX_INTEGER = 2**31 - 1  # the largest value of an integer column
MAX_EMAIL = 320  # characters
SHORT_TEXT = 255  # characters: ids, SKUs, names of locations and shipping methods
LONG_TEXT = 1_000  # characters: titles and address lines

DIGITS = re.compile(r"[0-9]{1,30}")
# 1.0 and 1.0000, but not 1.000, which may mean a thousand.
WHOLE_WITH_DECIMALS = re.compile(r"([0-9]{1,30})[.,](?:0{1,2}|0{4,10})")
CURRENCY = re.compile(r"[A-Z]{3}")
ORDER_ID = OWN_ID
ROUNDED_NUMBER = re.compile(r"[0-9](?:[.,][0-9]+)?[Ee]\+[0-9]{1,3}")  # 4.54E+12, as spreadsheets write long numbers
TIMESTAMP = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ Tt]([0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)"
    r" ?([Zz]|[+-][0-9]{2}:?(?:[0-9]{2})?)?"
)


class BadValue(Exception):
    """A field is invalid. Private to the imports; the message is the reason, without the value (may be personal)."""


class Fields:
    """Parse the fields of one object, and collect an error for each that is invalid."""

    def __init__(self, source: object) -> None:
        """Read the fields from the attributes of `source`."""
        self.errors: list[FieldError] = []
        self._source = source

    def parse(self, field: str, parser: Callable[[Any], T]) -> T:
        """Return a field's value, its text trimmed before parsing. Invalid: add an error; the result is of no use."""
        value = getattr(self._source, field)
        try:
            return parser(value.strip() if isinstance(value, str) else value)
        except BadValue as error:
            self.errors.append(FieldError(field=field, message=str(error)))
            return cast("T", None)


def text(max_length: int) -> Callable[[str], str]:
    """Return a parser for text of at most this many characters; empty text is valid."""

    def parse(value: str) -> str:
        if "\0" in value:
            raise BadValue("must not contain NUL characters")
        if len(value) > max_length:
            raise BadValue(f"must not be longer than {max_length:,} characters")
        return value

    return parse


def required(parser: Callable[[str], T]) -> Callable[[str], T]:
    """Return a parser that rejects empty text."""

    def parse(value: str) -> T:
        if not value:
            raise BadValue("must not be empty")
        return parser(value)

    return parse


def optional(parser: Callable[[str], T]) -> Callable[[str | None], T | None]:
    """Return a parser that returns None for empty or missing text."""
    return lambda value: parser(value) if value else None


def choice(values: Mapping[str, T]) -> Callable[[str | None], T]:
    """Return a parser for one of these words, in any case; empty or missing text is valid if "" is among them."""
    words = "one of " + ", ".join(filter(None, values))
    expected = f"empty or {words}" if "" in values else words

    def parse(value: str | None) -> T:
        try:
            return values[(value or "").lower()]
        except KeyError:
            raise BadValue(f"must be {expected}") from None

    return parse


def whole_number(minimum: int) -> Callable[[str | int], int]:
    """Return a parser for a whole number from `minimum` to the largest that an integer column holds."""

    def parse(value: str | int) -> int:
        if isinstance(value, str):
            if not DIGITS.fullmatch(value):
                match = WHOLE_WITH_DECIMALS.fullmatch(value)
                value = match[1] if match else "-1"
            value = int(value)
        if value < minimum:
            raise BadValue(f"must be a whole number of at least {minimum}")
        if value > MAX_INTEGER:
            raise BadValue(f"must be at most {MAX_INTEGER:,}")
        return value

    return parse


def timestamp(value: str) -> datetime:
    """Parse a point in time into UTC: ISO 8601, or `2010-11-15 08:34:00 +0000` as shop admins export it."""
    match = TIMESTAMP.fullmatch(value)
    if match is None:
        raise BadValue("must be a time like 2010-11-15 08:34:00 +0000")
    day, time, offset = match.groups()
    if offset is None:
        raise BadValue("must include the offset from UTC, like 2010-11-15 08:34:00 +0000")
    try:
        return datetime.fromisoformat(f"{day} {time}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise BadValue("must be a time that exists") from None


def currency(value: str) -> str:
    """Parse an ISO 4217 code, in any case."""
    if not CURRENCY.fullmatch(value.upper()):
        raise BadValue("must be three letters, like GBP")
    return value.upper()


def order_id(value: str) -> str:
    """Parse the source's own id of an order, which becomes part of its process id."""
    if is_rounded_number(value):
        raise BadValue("is a number that a spreadsheet has rounded, like 4.54E+12: export the file again")
    if not ORDER_ID.fullmatch(value):
        raise BadValue("must be 1 to 100 of the characters A-Z a-z 0-9 . _ : -")
    return value


def is_rounded_number(value: str) -> bool:
    """Return whether a spreadsheet has rounded a long number, like 4.54E+12, so that it can no longer be known."""
    return "+" in value and ROUNDED_NUMBER.fullmatch(value) is not None


def email(value: str) -> str:
    """Parse a guest's address into its normalised form; anything with a local part and a domain is valid."""
    if len(value) > MAX_EMAIL * NFC_MAX_SHRINK:
        raise BadValue(f"must not be longer than {MAX_EMAIL} characters")
    address = unicodedata.normalize("NFC", value.lower())
    local, at, domain = address.partition("@")
    if not (local and at and domain) or "@" in domain or " " in address or not address.isprintable():
        raise BadValue("must be an e-mail address")
    if len(address) > MAX_EMAIL:
        raise BadValue(f"must not be longer than {MAX_EMAIL} characters")
    return normalise_address(value)


def text_up_to(max_length: int) -> Callable[[str], str]:
    """Return a parser for text that is only kept for people: it removes NUL characters and cuts what is too long."""
    return lambda value: value.replace("\0", "")[:max_length]


def without_apostrophe(value: str) -> str:
    """Remove the leading apostrophe by which shop admins keep spreadsheets from reading text as a number."""
    return value.removeprefix("'")
