"""Makes orders of the rows of an order export: one row per line, the order's own fields on its first row."""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial

from commerce.imports import values
from commerce.imports.money import bounded, money
from commerce.imports.new_order import NewLine, NewOrder
from commerce.imports.reading import Columns, Row
from commerce.imports.values import LONG_TEXT, SHORT_TEXT, BadValue, filled, optional, text, word

MAX_LINES = 10_000  # of one order

HEAD_COLUMNS = ("Financial Status", "Currency", "Shipping", "Id")  # all empty: no order's first row
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

NEVER = datetime.min.replace(tzinfo=UTC)  # where a time is bad

Refuse = Callable[[int, str], None]  # line, reason

short, long = text(SHORT_TEXT), text(LONG_TEXT)
short_or_none, long_or_none, moment_or_none = optional(short), optional(long), optional(values.moment)
quantity, requires_shipping = values.count(1), word(YES_OR_NO)
payment_status, fulfillment_status = word(PAYMENT_STATUSES), word(FULFILLMENT_STATUSES)


class Block:
    """Rows that stand together under one order's name; makes an order unless one of them is bad."""

    def __init__(self, first: Row, currency: str, refuse: Refuse) -> None:
        """Begin with the order's first row; `currency` is for orders that name none."""
        self.line, self.name = first.line, first.text("Name")
        self.own_id = bool(first.text("Id"))
        self.id = first.text("Id") or self.name.removeprefix("#")
        self.good = True
        self.order: NewOrder | None = None
        self._currency, self._refuse = currency, refuse
        self._lines: list[NewLine] = []

    def goes_on(self, row: Row) -> bool:
        """Tell whether a row is a further line of this order; one that names no order is taken for one."""
        if row.text("Financial Status"):
            return False
        name = row.text("Name")
        return not name or (name == self.name and row.text("Id") in ("", self.id))

    def add(self, row: Row) -> None:
        """Take a row in, or refuse it and with it the whole order."""
        if not row.problems:
            self._read(row)
        if row.problems:
            self.good = False
            self._refuse(row.line, "; ".join(row.problems))

    def close(self) -> "Block":
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
        return self

    def _read(self, row: Row) -> None:
        row.read("Name", filled(short), "")
        if row.line == self.line:
            self._read_head(row)
        line = self._read_line(row)
        if self.good and len(self._lines) == MAX_LINES:
            row.problems.append(f"an order must not have more than {MAX_LINES:,} lines")
        elif self.good and not row.problems:
            self._lines.append(line)

    def _read_head(self, row: Row) -> None:
        if not any(row.text(column) for column in HEAD_COLUMNS):
            row.problems.append(_homeless(self.id))
            return
        stated_currency = row.read("Currency", optional(values.currency), None)
        self._currency = stated_currency or self._currency
        amount = optional(money(self._currency))
        shipping = row.read("Shipping", amount, None)
        self._shipping_total = shipping or 0
        self._total = row.read("Total", amount, None)
        self._head = partial(
            NewOrder,
            id=self._read_id(row),
            email=row.read("Email", optional(values.email), None),
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
            created_at=row.read("Created at", values.moment, NEVER),
            paid_at=row.read("Paid at", moment_or_none, None),
            cancelled_at=row.read("Cancelled at", moment_or_none, None),
        )

    def _read_id(self, row: Row) -> str:
        if self.own_id:
            return row.read("Id", values.order_id, "")
        return row.read("Name", lambda _: values.order_id(self.id), "") if self.name else ""

    def _read_line(self, row: Row) -> NewLine:
        return NewLine(
            sku=row.read("Lineitem sku", short, ""),
            title=row.read("Lineitem name", long, ""),
            quantity=row.read("Lineitem quantity", quantity, 0),
            unit_price=row.read("Lineitem price", money(self._currency), 0),
            requires_shipping=row.read("Lineitem requires shipping", requires_shipping, True),
        )


def read_orders(rows: Iterable[Row], currency: str, refuse: Refuse) -> Iterator[Block]:
    """Gather rows into blocks, in the order of the file; bad rows go to `refuse`, one order at a time is in memory."""
    block: Block | None = None
    for row in rows:
        if block is None or not block.goes_on(row):
            if block is not None:
                yield block.close()
            block = Block(row, currency, refuse)
        block.add(row)
    if block is not None:
        yield block.close()


def _homeless(order_id: str) -> str:
    shown = order_id if values.ORDER_ID.fullmatch(order_id) else "of this name"
    return f"order {shown} appears twice or lacks its first row: the rows of an order must stand together"


def _unquoted(cell: str) -> str:
    return short(values.unquoted(cell))
