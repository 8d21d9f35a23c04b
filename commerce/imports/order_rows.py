"""Makes orders of the rows of an order export: one row per line, the order's own fields on its first row."""

from collections.abc import Iterable, Iterator
from functools import partial

from commerce.imports import cells
from commerce.imports.cells import LONG_TEXT, SHORT_TEXT, BadValue, optional, text, word
from commerce.imports.csv_rows import Columns, Row
from commerce.imports.money import bounded, money
from commerce.imports.new_order import NewLine, NewOrder
from commerce.imports.row_groups import NEVER, Block, Refuse, gather

MAX_LINES = 10_000  # of one order

COLUMNS = Columns(
    required=(
        *("Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Currency", "Shipping"),
        *("Shipping Method", "Created at", "Lineitem quantity", "Lineitem name", "Lineitem price", "Lineitem sku"),
        *("Lineitem requires shipping", "Shipping Country"),
    ),
    optional=(
        *("Id", "Cancelled at", "Total", "Shipping Name", "Shipping Address1", "Shipping City", "Shipping Zip"),
        *("Shipping Province", "Shipping Phone"),
    ),
)
PAYMENT_STATUSES = {
    "paid": "captured",
    "authorized": "authorized",
    "pending": "awaiting",
    "partially_paid": "partially_captured",
    "refunded": "refunded",
    "partially_refunded": "partially_refunded",
    "voided": "cancelled",
}
FULFILLMENT_STATUSES = {"": "not_fulfilled", "partial": "partially_fulfilled", "fulfilled": "fulfilled_elsewhere"}
YES_OR_NO = {"": True, "true": True, "false": False}

short, long = text(SHORT_TEXT), text(LONG_TEXT)
short_or_none, long_or_none, moment_or_none = optional(short), optional(long), optional(cells.moment)
quantity, requires_shipping = cells.count(1), word(YES_OR_NO)
payment_status, fulfillment_status = word(PAYMENT_STATUSES), word(FULFILLMENT_STATUSES)


class OrderBlock(Block[NewLine]):
    """The rows of one order."""

    noun, name_column, max_lines = "an order", "Name", MAX_LINES
    head_columns = ("Financial Status", "Currency", "Shipping", "Id")

    def __init__(self, first: Row, currency: str, refuse: Refuse) -> None:
        """Begin with the order's first row; `currency` is for orders that name none."""
        self.name, self.own_id = first.text("Name"), bool(first.text("Id"))
        super().__init__(first, first.text("Id") or self.name.removeprefix("#"), refuse)
        self.order: NewOrder | None = None
        self._currency = currency

    def goes_on(self, row: Row) -> bool:
        """Tell whether a row is a further line of this order."""
        if row.text("Financial Status"):
            return False
        name = row.text("Name")
        return not name or (name == self.name and row.text("Id") in ("", self.id))

    def close(self) -> None:
        """Make the order of what was taken in."""
        if self.good:
            goods = sum(line.quantity * line.unit_price for line in self._lines)
            total = goods + self._shipping_total if self._total is None else self._total
            try:
                self.order = self._head(total=bounded(total), lines=tuple(self._lines))
            except BadValue as problem:
                self.good = False
                self._refuse(self.line, f"Total: {problem}")
        self._lines = []

    def _read_head(self, row: Row) -> None:
        stated_currency = row.read("Currency", optional(cells.currency), None)
        self._currency = stated_currency or self._currency
        amount = optional(money(self._currency))
        shipping = row.read("Shipping", amount, None)
        self._shipping_total = shipping or 0
        self._total = row.read("Total", amount, None)
        self._head = partial(
            NewOrder,
            id=self._read_id(row),
            email=row.read("Email", optional(cells.email), None),
            payment_status=row.read("Financial Status", payment_status, ""),
            fulfillment_status=row.read("Fulfillment Status", fulfillment_status, ""),
            currency=self._currency,
            shipping_total=self._shipping_total,
            shipping_method=row.read("Shipping Method", short_or_none, None),
            shipping_name=row.read("Shipping Name", long_or_none, None),
            shipping_address1=row.read("Shipping Address1", long_or_none, None),
            shipping_city=row.read("Shipping City", short_or_none, None),
            shipping_zip=row.read("Shipping Zip", optional(_unquoted), None),
            shipping_province=row.read("Shipping Province", short_or_none, None),
            shipping_country=row.read("Shipping Country", short_or_none, None),
            shipping_phone=row.read("Shipping Phone", optional(_unquoted), None),
            created_at=row.read("Created at", cells.moment, NEVER),
            paid_at=row.read("Paid at", moment_or_none, None),
            cancelled_at=row.read("Cancelled at", moment_or_none, None),
        )

    def _read_id(self, row: Row) -> str:
        if self.own_id:
            return row.read("Id", cells.order_id, "")
        return row.read("Name", lambda _: cells.order_id(self.id), "") if self.name else ""

    def _read_line(self, row: Row) -> NewLine:
        return NewLine(
            sku=row.read("Lineitem sku", short, ""),
            title=row.read("Lineitem name", long, ""),
            quantity=row.read("Lineitem quantity", quantity, 0),
            unit_price=row.read("Lineitem price", money(self._currency), 0),
            requires_shipping=row.read("Lineitem requires shipping", requires_shipping, True),
        )


def read_orders(rows: Iterable[Row], currency: str, refuse: Refuse) -> Iterator[OrderBlock]:
    """Gather rows into orders' blocks, in the order of the file; bad rows go to `refuse`."""
    return gather(rows, lambda first: OrderBlock(first, currency, refuse))


def _unquoted(cell: str) -> str:
    return short(cells.unquoted(cell))
