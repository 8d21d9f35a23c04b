"""Reads the rows of an inventory export: one row per SKU and location."""

from typing import NamedTuple

from commerce.imports import cells
from commerce.imports.cells import LONG_TEXT, SHORT_TEXT, filled, optional, word
from commerce.imports.csv_rows import Columns, Row

COLUMNS = Columns(
    required=("Handle", "Title", "SKU", "Location", "Available", "On hand"),
    optional=("Tracked", "Policy"),
    also=(("On hand (current)", "On hand"),),
)
NOT_STOCKED = "not stocked"  # how shop admins write that a location has no level of a SKU

short, long = filled(cells.text(SHORT_TEXT)), filled(cells.text(LONG_TEXT))
tracked = optional(word({"true": True, "false": False}))
policy = optional(word({"deny": False, "continue": True}))


class NewLevel(NamedTuple):
    """One row: a SKU at a location; None is what the row does not say."""

    line: int
    handle: str
    title: str
    sku: str
    location: str
    on_hand: int | None
    manage_inventory: bool | None
    allow_backorder: bool | None


def read_level(row: Row) -> NewLevel:
    """Return what a row says; what does not fit is among the row's problems."""
    return NewLevel(
        line=row.line,
        handle=row.read("Handle", short, ""),
        title=row.read("Title", long, ""),
        sku=row.read("SKU", short, ""),
        location=row.read("Location", short, ""),
        on_hand=row.read("On hand", _on_hand, None),
        manage_inventory=row.read("Tracked", tracked, None),
        allow_backorder=row.read("Policy", policy, None),
    )


def _on_hand(cell: str) -> int | None:
    return None if cell.lower() in ("", NOT_STOCKED) else cells.count(0)(cell)
