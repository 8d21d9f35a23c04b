"""Makes carts of the rows of an export of abandoned checkouts: one row per line, the cart's own fields on its first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import NamedTuple

from commerce.imports import cells
from commerce.imports.cells import SHORT_TEXT, optional, text
from commerce.imports.csv_rows import Columns, Row
from commerce.imports.money import money
from commerce.imports.row_groups import NEVER, Block, Refuse, gather

MAX_LINES = 10_000  # of one cart

COLUMNS = Columns(
    required=(
        *("Id", "Email", "Created at", "Updated at", "Completed at", "Currency"),
        *("Lineitem quantity", "Lineitem sku", "Lineitem price"),
    )
)

short, quantity = text(SHORT_TEXT), cells.count(1)


class NewCartLine(NamedTuple):
    """One line of a cart; the price is in minor units of the cart's currency."""

    sku: str
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCart:
    """A cart as another system knows it; amounts in minor units, times in UTC."""

    id: str
    email: str | None
    currency: str
    created_at: datetime
    updated_at: datetime
    completed_at: datetime | None
    lines: tuple[NewCartLine, ...]


class CartBlock(Block[NewCartLine]):
    """The rows of one cart."""

    noun, name_column, max_lines = "a cart", "Id", MAX_LINES
    head_columns = ("Email", "Created at", "Updated at", "Completed at", "Currency")

    def __init__(self, first: Row, currency: str, refuse: Refuse) -> None:
        """Begin with the cart's first row; `currency` is for carts that name none."""
        super().__init__(first, first.text("Id"), refuse)
        self.cart: NewCart | None = None
        self._currency = currency

    def goes_on(self, row: Row) -> bool:
        """Tell whether a row is a further line of this cart."""
        return not row.text("Created at") and row.text("Id") in ("", self.id)

    def close(self) -> None:
        """Make the cart of what was taken in."""
        if self.good:
            self.cart = self._head(lines=tuple(self._lines))
        self._lines = []

    def _read_head(self, row: Row) -> None:
        self._currency = row.read("Currency", optional(cells.currency), None) or self._currency
        self._head = partial(
            NewCart,
            id=row.read("Id", cells.order_id, "") if self.id else "",
            email=row.read("Email", optional(cells.email), None),
            currency=self._currency,
            created_at=row.read("Created at", cells.moment, NEVER),
            updated_at=row.read("Updated at", cells.moment, NEVER),
            completed_at=row.read("Completed at", optional(cells.moment), None),
        )

    def _read_line(self, row: Row) -> NewCartLine:
        return NewCartLine(
            sku=row.read("Lineitem sku", short, ""),
            quantity=row.read("Lineitem quantity", quantity, 0),
            unit_price=row.read("Lineitem price", money(self._currency), 0),
        )


def read_carts(rows: Iterable[Row], currency: str, refuse: Refuse) -> Iterator[CartBlock]:
    """Gather rows into carts' blocks, in the order of the file; bad rows go to `refuse`."""
    return gather(rows, lambda first: CartBlock(first, currency, refuse))
