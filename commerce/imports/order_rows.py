"""Read orders from the rows of an order export: one row per line, the order's own fields on its first row."""

from collections.abc import Iterable, Iterator, Mapping

from commerce.imports.csv_rows import Columns, Row
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.order_parser import MAX_LINES, OrderHead, OrderLine, complete_order, parse_head, parse_line
from commerce.imports.row_groups import ReportBadRow, RowGroup, group_rows
from commerce.messages.base import FieldError
from commerce.order_identity import DEFAULT_SOURCE, name_key_of

# Columns by field of OrderHead and OrderLine. Without an `Id`, the order's id is its `Name`.
HEAD_COLUMNS = {
    "name": "Name",
    "email": "Email",
    "financial_status": "Financial Status",
    "paid_at": "Paid at",
    "fulfillment_status": "Fulfillment Status",
    "currency": "Currency",
    "subtotal": "Subtotal",
    "shipping": "Shipping",
    "taxes": "Taxes",
    "total": "Total",
    "discount_code": "Discount Code",
    "discount_amount": "Discount Amount",
    "shipping_method": "Shipping Method",
    "created_at": "Created at",
    "billing_name": "Billing Name",
    "billing_address1": "Billing Address1",
    "billing_address2": "Billing Address2",
    "billing_company": "Billing Company",
    "billing_city": "Billing City",
    "billing_zip": "Billing Zip",
    "billing_province": "Billing Province",
    "billing_country": "Billing Country",
    "shipping_name": "Shipping Name",
    "shipping_address1": "Shipping Address1",
    "shipping_address2": "Shipping Address2",
    "shipping_company": "Shipping Company",
    "shipping_city": "Shipping City",
    "shipping_zip": "Shipping Zip",
    "shipping_province": "Shipping Province",
    "shipping_country": "Shipping Country",
    "shipping_phone": "Shipping Phone",
    "notes": "Notes",
    "note_attributes": "Note Attributes",
    "cancelled_at": "Cancelled at",
    "payment_method": "Payment Method",
    "payment_reference": "Payment Reference",
    "refunded_amount": "Refunded Amount",
    "outstanding_balance": "Outstanding Balance",
    "id": "Id",
    "tags": "Tags",
    "risk_level": "Risk Level",
    "phone": "Phone",
    "duties": "Duties",
    "shipping_province_name": "Shipping Province Name",
}
LINE_COLUMNS = {  # in the order of OrderLine
    "sku": "Lineitem sku",
    "name": "Lineitem name",
    "quantity": "Lineitem quantity",
    "price": "Lineitem price",
    "requires_shipping": "Lineitem requires shipping",
    "discount": "Lineitem discount",
    "fulfillment_status": "Lineitem fulfillment status",
    "vendor": "Vendor",
    "refunded_quantity": "Lineitem refunded quantity",  # not in a shop admin's export; other files have it
}
# Columns of a shop admin's export that nothing here needs.
IGNORED_COLUMNS = (
    *("Fulfilled at", "Accepts Marketing", "Lineitem compare at price", "Lineitem taxable"),
    *("Billing Street", "Billing Phone", "Billing Province Name", "Shipping Street"),
    *("Employee", "Location", "Device ID", "Source", "Receipt Number"),
    *(f"Tax {number} {part}" for number in range(1, 6) for part in ("Name", "Value")),
    *("Payment ID", "Payment Terms Name", "Next Payment Due At", "Payment References"),
)
REQUIRED_COLUMNS = (
    *("Name", "Email", "Financial Status", "Paid at", "Fulfillment Status", "Currency", "Shipping"),
    *("Shipping Method", "Created at", "Shipping Country"),
    *("Lineitem sku", "Lineitem name", "Lineitem quantity", "Lineitem price", "Lineitem requires shipping"),
)
COLUMNS = Columns(
    required=REQUIRED_COLUMNS,
    optional=[column for column in (*HEAD_COLUMNS.values(), *LINE_COLUMNS.values()) if column not in REQUIRED_COLUMNS],
)


class OrderRows(RowGroup[NewOrderLine]):
    """The rows of one order; `order` is None unless all of them are good. `warnings` has lines and reasons."""

    noun, name_column, max_lines = "order", "Name", MAX_LINES
    head_columns = ("Financial Status", "Currency", "Shipping", "Id")

    def __init__(self, first: Row, currency: str, source: str, report_bad_row: ReportBadRow) -> None:
        """Start an order at its first row; `currency` is for an order that has none."""
        self.name, self.has_id = first.text("Name"), bool(first.text("Id"))
        super().__init__(first, first.text("Id") or name_key_of(self.name), report_bad_row)
        self.order: NewOrder | None = None
        self.warnings: list[tuple[int, str]] = []
        self._currency, self._source = currency, source
        self._line_positions = [first.positions.get(column) for column in LINE_COLUMNS.values()]

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
                    self._warn(self._first, order.warnings, HEAD_COLUMNS)
        self._lines = []

    def _parse_head(self, row: Row) -> None:
        texts = {field: row.text(column) for field, column in HEAD_COLUMNS.items()}
        self._head = parse_head(OrderHead(**texts | {"id": self.id}), self._currency, self._source)
        self._currency = self._head.currency
        _add_errors(row, self._head.errors, HEAD_COLUMNS if self.has_id else HEAD_COLUMNS | {"id": "Name"})

    def _parse_line(self, row: Row) -> NewOrderLine | None:
        cells = row.cells
        line = OrderLine._make(["" if position is None else cells[position] for position in self._line_positions])
        warnings: list[FieldError] = []
        match parse_line(line, self._currency, warnings):
            case list() as errors:
                _add_errors(row, errors, LINE_COLUMNS)
                return None
            case parsed:
                self._warn(row, warnings, LINE_COLUMNS)
                return parsed

    def _warn(self, row: Row, warnings: Iterable[FieldError], columns: Mapping[str, str]) -> None:
        for warning in warnings:
            column = columns.get(warning.field)
            self.warnings.append((row.line, f"{column}: {warning.message}" if column else warning.message))


def _add_errors(row: Row, errors: Iterable[FieldError], columns: Mapping[str, str]) -> None:
    for error in errors:
        row.add_problem(columns.get(error.field), error.message)


def read_orders(
    rows: Iterable[Row], currency: str, report_bad_row: ReportBadRow, source: str = DEFAULT_SOURCE
) -> Iterator[OrderRows]:
    """Yield the rows of one order after another, in the order of the file."""
    return group_rows(rows, lambda first: OrderRows(first, currency, source, report_bad_row))
