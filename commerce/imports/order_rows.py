"""Read orders from the rows of an order export: one row per line, the order's own fields on its first row."""

from collections.abc import Iterable, Iterator, Mapping

from commerce.imports.csv_rows import Columns, Row
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.order_parser import MAX_LINES, OrderHead, OrderLine, complete_order, parse_head, parse_line
from commerce.imports.row_groups import ReportBadRow, RowGroup, group_rows
from commerce.messages.base import FieldError

# Columns by field of OrderHead and OrderLine. Without an `Id`, the order's id is its `Name`.
HEAD_COLUMNS = {
    "email": "Email",
    "financial_status": "Financial Status",
    "paid_at": "Paid at",
    "fulfillment_status": "Fulfillment Status",
    "currency": "Currency",
    "shipping": "Shipping",
    "shipping_method": "Shipping Method",
    "created_at": "Created at",
    "shipping_country": "Shipping Country",
    "id": "Id",
    "cancelled_at": "Cancelled at",
    "total": "Total",
    "shipping_name": "Shipping Name",
    "shipping_address1": "Shipping Address1",
    "shipping_city": "Shipping City",
    "shipping_zip": "Shipping Zip",
    "shipping_province": "Shipping Province",
    "shipping_phone": "Shipping Phone",
}
LINE_COLUMNS = {  # in the order of OrderLine
    "sku": "Lineitem sku",
    "name": "Lineitem name",
    "quantity": "Lineitem quantity",
    "price": "Lineitem price",
    "requires_shipping": "Lineitem requires shipping",
}
OPTIONAL_COLUMNS = (
    *("Id", "Cancelled at", "Total", "Shipping Name", "Shipping Address1", "Shipping City", "Shipping Zip"),
    *("Shipping Province", "Shipping Phone"),
)
COLUMNS = Columns(
    required=[
        column for column in ("Name", *HEAD_COLUMNS.values(), *LINE_COLUMNS.values()) if column not in OPTIONAL_COLUMNS
    ],
    optional=OPTIONAL_COLUMNS,
)


class OrderRows(RowGroup[NewOrderLine]):
    """The rows of one order; `order` is None unless all of them are good."""

    noun, name_column, max_lines = "order", "Name", MAX_LINES
    head_columns = ("Financial Status", "Currency", "Shipping", "Id")

    def __init__(self, first: Row, currency: str, report_bad_row: ReportBadRow) -> None:
        """Start an order at its first row; `currency` is for an order that has none."""
        self.name, self.has_id = first.text("Name"), bool(first.text("Id"))
        super().__init__(first, first.text("Id") or self.name.removeprefix("#"), report_bad_row)
        self.order: NewOrder | None = None
        self._currency = currency

    def continues_with(self, row: Row) -> bool:
        """Return whether a row is another line of this order."""
        if row.text("Financial Status"):
            return False
        name = row.text("Name")
        return not name or (name == self.name and row.text("Id") in ("", self.id))

    def finish(self) -> None:
        """Build the order if all rows were good, and release the lines."""
        if self.good:
            match complete_order(self._head, self._lines):
                case list() as errors:
                    _add_errors(self._first, errors, HEAD_COLUMNS)
                    self._reject(self._first)
                case order:
                    self.order = order
        self._lines = []

    def _parse_head(self, row: Row) -> None:
        texts = {field: row.text(column) for field, column in HEAD_COLUMNS.items()}
        self._head = parse_head(OrderHead(**texts | {"id": self.id}), self._currency)
        self._currency = self._head.currency
        _add_errors(row, self._head.errors, HEAD_COLUMNS if self.has_id else HEAD_COLUMNS | {"id": "Name"})

    def _parse_line(self, row: Row) -> NewOrderLine | None:
        line = OrderLine._make([row.cells[row.positions[column]] for column in LINE_COLUMNS.values()])
        match parse_line(line, self._currency):
            case list() as errors:
                _add_errors(row, errors, LINE_COLUMNS)
                return None
            case parsed:
                return parsed


def _add_errors(row: Row, errors: Iterable[FieldError], columns: Mapping[str, str]) -> None:
    for error in errors:
        row.add_problem(columns.get(error.field), error.message)


def read_orders(rows: Iterable[Row], currency: str, report_bad_row: ReportBadRow) -> Iterator[OrderRows]:
    """Yield the rows of one order after another, in the order of the file."""
    return group_rows(rows, lambda first: OrderRows(first, currency, report_bad_row))
