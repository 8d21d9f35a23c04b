"""Read counted levels from an inventory export, in any of its layouts.

Today's export has one row per SKU and location, the oldest one a column per location with the units available there. A
file without locations is about the shop's only one.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

from commerce.imports.csv_rows import Columns, Row
from commerce.imports.parsers import (
    LONG_TEXT,
    MAX_INTEGER,
    SHORT_TEXT,
    BadValue,
    choice,
    optional,
    text,
    without_apostrophe,
)

NOT_EDITABLE = ("Incoming", "Unavailable", "Committed", "Available")  # today's header says so of these columns
OPTIONS = tuple((f"Option{i} Name", f"Option{i} Value") for i in (1, 2, 3))
COUNTS = ("On hand (new)", "On hand", "Available")  # the first one that a file has and, if it is `new`, fills counts
IGNORED = ("HS Code", "COO", "Bin name", "Incoming")
# Columns of other exports of the same products, which must not be taken for locations.
NO_LOCATIONS = frozenset(
    {
        *("barcode", "cost", "cost per item", "currency", "id", "image src", "price", "product category", "product id"),
        *("product type", "published", "status", "tags", "type", "unit cost", "variant barcode", "variant id"),
        *("variant price", "vendor", "weight"),
    }
)
NOT_STOCKED = "not stocked"  # what shop admins export where a location has no level of a SKU
DEFAULT_OPTION = ("title", "default title")  # what they export for a product without options
UNITS = re.compile(r"-?[0-9]{1,30}")
NO_PRODUCT = "it lacks the columns SKU and Handle, of which one must name the product"
NO_COUNT = "it lacks a column with counts: On hand, On hand (new) or Available, or one column per location"
NO_UNITS = f"must be a whole number, empty or {NOT_STOCKED}"
NO_NAME = "must not be empty if the row has no Handle and no Title either"

short_text, long_text = text(SHORT_TEXT), text(LONG_TEXT)
tracked = optional(choice({"true": True, "false": False}))
policy = optional(choice({"deny": False, "continue": True}))


class NewLevel(NamedTuple):
    """A SKU at a location; None and empty texts: the row leaves the field open."""

    line: int
    handle: str  # of the product; made of its title or SKU if the row has none
    has_handle: bool
    title: str
    options: str  # like `Red / Large`; empty if the product has none
    sku: str  # made of handle and options if the row has none
    has_sku: bool
    key: str  # the SKU that the variant has, or had, without one of its own
    location: str
    units: int | None  # counted; may be negative. None: not stocked, or not counted
    is_available: bool  # whether `units` leave out those of open orders
    committed: int | None  # units of open orders among those on hand
    is_empty: bool  # the export of a variant whose stock the shop does not track has no units and no `not stocked`
    manage_inventory: bool | None
    allow_backorder: bool | None


class _Cell(NamedTuple):
    """Where a row has a count, and at which location."""

    column: str
    location: str | None  # None: as the column Location has it
    is_available: bool


def _locations(header: Sequence[str]) -> list[str]:
    """Return the columns that are named after locations."""
    if "Location" in header or any(column in header for column in COUNTS):
        return []
    return [name for name in header if name and name not in KNOWN and name.lower() not in NO_LOCATIONS]


def _check(header: Sequence[str]) -> str | None:
    if "SKU" not in header and "Handle" not in header:
        return NO_PRODUCT
    return None if any(column in header for column in COUNTS) or _locations(header) else NO_COUNT


KNOWN = (
    *("Handle", "Title", "SKU", "Location", "On hand", "On hand (new)", "Unavailable", "Committed", "Available"),
    *("Tracked", "Policy", *IGNORED, *(column for pair in OPTIONS for column in pair)),
)
COLUMNS = Columns(
    required=(),
    optional=KNOWN,
    aliases=(
        ("On hand (current)", "On hand"),
        *((f"{column} (not editable)", column) for column in NOT_EDITABLE),
        *((column.replace("Option", "Option "), column) for pair in OPTIONS for column in pair),
    ),
    others=True,
    check=_check,
)


class LevelReader:
    """Reads the rows of one file."""

    def __init__(self) -> None:
        """Find out the layout from the first row."""
        self._locations: list[str] | None = None

    def read(self, row: Row) -> Iterator[NewLevel]:
        """Yield the levels of a row; adds problems to it, in which case they are of no use."""
        handle, title, sku = (
            row.parse("Handle", short_text),
            row.parse("Title", long_text),
            row.parse("SKU", short_text),
        )
        options = _options(row)
        if row.problems:
            return
        made_handle = handle or _slug(title) or sku
        key = _key(made_handle, options)
        if not made_handle:
            row.add_problem("SKU", NO_NAME)
        if max(len(options), len(key)) > SHORT_TEXT:
            row.add_problem("Option1 Value", f"handle and options must not be longer than {SHORT_TEXT} characters")
        level = NewLevel(
            line=row.line,
            handle=made_handle,
            has_handle=bool(handle),
            title=title,
            options=options,
            sku=sku or key,
            has_sku=bool(sku),
            key=key,
            location="",
            units=None,
            is_available=False,
            committed=None,
            is_empty=True,
            manage_inventory=row.parse("Tracked", tracked),
            allow_backorder=row.parse("Policy", policy),
        )
        for cell in self._cells(row):
            value = row.text(cell.column)
            units = row.parse(cell.column, _units)
            location = row.parse("Location", short_text) if cell.location is None else cell.location
            committed = None if cell.is_available else _committed(row)
            yield level._replace(
                location=location,
                units=units,
                is_available=cell.is_available,
                committed=committed,
                is_empty=not value,
            )

    def _cells(self, row: Row) -> Sequence[_Cell]:
        if self._locations is None:
            self._locations = _locations(list(row.positions))
        if self._locations:
            return [_Cell(name, name, is_available=True) for name in self._locations]
        present = [column for column in COUNTS if column in row.positions]
        if present[0] == "On hand (new)" and len(present) > 1 and not row.text("On hand (new)"):
            present = present[1:]
        return [_Cell(present[0], None, is_available=present[0] == "Available")]


def has_options(positions: Mapping[str, int]) -> bool:
    """Return whether a file says which options its variants have."""
    return "Option1 Value" in positions


def _options(row: Row) -> str:
    pairs = [(row.text(name), row.parse(value, short_text)) for name, value in OPTIONS]
    values = [value for name, value in pairs if value and (name.lower(), value.lower()) != DEFAULT_OPTION]
    return " / ".join(value for value in values if len(values) > 1 or value.lower() != DEFAULT_OPTION[1])


def _key(handle: str, options: str) -> str:
    """Return the SKU of a variant that has none of its own, like `#mug/Red / Large`."""
    return f"#{handle}/{options}" if options else f"#{handle}"


@cache
def _slug(title: str) -> str:
    """Return the handle that shops make of a title."""
    return re.sub(r"[\W_]+", "-", without_apostrophe(title).lower()).strip("-")


def _units(value: str) -> int | None:
    if value.lower() in ("", NOT_STOCKED):
        return None
    if not UNITS.fullmatch(value):
        raise BadValue(NO_UNITS)
    if abs(int(value)) > MAX_INTEGER:
        raise BadValue(f"must be at most {MAX_INTEGER:,}")
    return int(value)


def _committed(row: Row) -> int | None:
    """Return the units of open orders, from their own column, or as far as the others show them."""
    committed, on_hand, available, unavailable = (
        int(value) if UNITS.fullmatch(value := row.text(column)) else None
        for column in ("Committed", "On hand", "Available", "Unavailable")
    )
    if committed is None and on_hand is not None and available is not None:
        committed = on_hand - available - (unavailable or 0)
    return None if committed is None else min(max(committed, 0), MAX_INTEGER)
