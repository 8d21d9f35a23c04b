"""Read carts from an export of abandoned checkouts: one row per line, the cart's own fields on its first row."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from commerce.imports.csv_rows import Columns, Row
from commerce.imports.money import amount
from commerce.imports.parsers import SHORT_TEXT, currency, email, optional, order_id, text, timestamp, whole_number
from commerce.imports.row_groups import ReportBadRow, RowGroup, group_rows

MAX_LINES = 10_000  # of one cart

# Two layouts. Ours has an `Id` on each row and the times of the last change and of the purchase. A shop admin's export
# of abandoned checkouts is laid out like an order export: `Name` is on each row, and no column has the last change.
COLUMNS = Columns(
    required=("Id", "Email", "Created at", "Currency", "Lineitem quantity", "Lineitem sku", "Lineitem price"),
    optional=("Name", "Updated at", "Completed at", "Paid at"),
)

short_text, quantity = text(SHORT_TEXT), whole_number(minimum=1)


class NewCartLine(NamedTuple):
    """One line of a cart; the price is in minor units of the cart's currency."""

    sku: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCart:
    """A cart from another system, parsed and checked: amounts in minor units, times in UTC."""

    id: str
    email: str | None
    currency: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    lines: tuple[NewCartLine, ...]


class CartRows(RowGroup[NewCartLine]):
    """The rows of one cart; `cart` is None unless all of them are good.

    `is_dated` is whether the file says when the cart changed last; if not, `updated_at` is the latest time it has.
    """

    noun, max_lines = "cart", MAX_LINES
    head_columns = ("Email", "Created at", "Updated at", "Completed at", "Currency")

    def __init__(self, first: Row, currency: str, report_bad_row: ReportBadRow) -> None:
        """Start a cart at its first row; `currency` is for a cart that has none."""
        self.name = first.text("Name")
        self.name_column = "Name" if self.name else "Id"
        super().__init__(first, first.text("Id") or self.name.removeprefix("#"), report_bad_row)
        self.cart: NewCart | None = None
        self._currency, self._has_currency = currency, bool(first.text("Currency"))
        self.is_dated = True

    def continues_with(self, row: Row) -> bool:
        """Return whether a row is another line of this cart."""
        if row.text("Id") not in ("", self.id) or row.text("Name") not in ("", self.name):
            return False
        if not row.text("Created at") or (self._has_currency and not row.text("Currency")):
            return True
        return bool(self.name) and not row.text("Id")

    def finish(self) -> None:
        """Build the cart if all rows were good, and release the lines."""
        if self.good:
            self.cart = self._head(lines=tuple(self._lines))
        self._lines = []

    def _parse_head(self, row: Row) -> None:
        self._currency = row.parse("Currency", optional(currency)) or self._currency
        created = row.parse("Created at", timestamp)
        updated = row.parse("Updated at", timestamp) if "Updated at" in row.positions else None
        paid = row.parse("Paid at", optional(timestamp)) if "Completed at" not in row.positions else None
        completed = row.parse("Completed at", optional(timestamp)) or paid
        self.is_dated = updated is not None
        self._head = partial(
            NewCart,
            id=row.parse("Id", order_id) if row.text("Id") else self._parse_name(row),
            email=row.parse("Email", optional(email)),
            currency=self._currency,
            created_at=created,
            updated_at=updated or completed or created,
            completed_at=completed,
        )

    def _parse_name(self, row: Row) -> str:
        return row.parse("Name" if self.name else "Id", lambda name: order_id(name.removeprefix("#")))

    def _parse_line(self, row: Row) -> NewCartLine:
        return NewCartLine(
            sku=row.parse("Lineitem sku", short_text),
            quantity=row.parse("Lineitem quantity", quantity),
            unit_price=row.parse("Lineitem price", amount(self._currency)),
        )


def read_carts(rows: Iterable[Row], currency: str, report_bad_row: ReportBadRow) -> Iterator[CartRows]:
    """Yield the rows of one cart after another, in the order of the file."""
    return group_rows(rows, lambda first: CartRows(first, currency, report_bad_row))
