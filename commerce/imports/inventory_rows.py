"""Read stock levels from an inventory export: one row per SKU and location."""

from typing import NamedTuple

from commerce.imports.csv_rows import Columns, Row
from commerce.imports.parsers import LONG_TEXT, SHORT_TEXT, choice, optional, required, text, whole_number

COLUMNS = Columns(
    required=("Handle", "Title", "SKU", "Location", "Available", "On hand"),
    optional=("Tracked", "Policy"),
    aliases=(("On hand (current)", "On hand"),),
)
NOT_STOCKED = "not stocked"  # what shop admins export where a location has no level of a SKU

short_text, long_text = required(text(SHORT_TEXT)), required(text(LONG_TEXT))
tracked = optional(choice({"true": True, "false": False}))
policy = optional(choice({"deny": False, "continue": True}))
units = whole_number(minimum=0)


class NewLevel(NamedTuple):
    """A SKU at a location. None: the row leaves the field open."""

    line: int
    handle: str
    title: str
    sku: str
    location: str
    on_hand: int | None
    manage_inventory: bool | None
    allow_backorder: bool | None


def parse_level(row: Row) -> NewLevel:
    """Parse a row; adds problems to it, in which case the result is of no use."""
    return NewLevel(
        line=row.line,
        handle=row.parse("Handle", short_text),
        title=row.parse("Title", long_text),
        sku=row.parse("SKU", short_text),
        location=row.parse("Location", short_text),
        on_hand=row.parse("On hand", _on_hand),
        manage_inventory=row.parse("Tracked", tracked),
        allow_backorder=row.parse("Policy", policy),
    )


def _on_hand(value: str) -> int | None:
    return None if value.lower() in ("", NOT_STOCKED) else units(value)
