"""Parse an order from another system. Files and HTTP requests go through the same rules, but for the country."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

from commerce.countries import INVALID_COUNTRY, country_code
from commerce.imports.money import amount, check_amount
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.imports.parsers import (
    LONG_TEXT,
    MAX_INTEGER,
    SHORT_TEXT,
    BadValue,
    Fields,
    choice,
    currency,
    email,
    optional,
    order_id,
    text,
    timestamp,
    whole_number,
    without_apostrophe,
)
from commerce.messages.base import FieldError

MAX_LINES = 10_000  # of one order

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

short_text, long_text = text(SHORT_TEXT), text(LONG_TEXT)
optional_short_text, optional_long_text = optional(short_text), optional(long_text)
optional_digits = optional(lambda value: short_text(without_apostrophe(value)))  # ZIP codes and phone numbers
optional_timestamp = optional(timestamp)
quantity = whole_number(minimum=1)
payment_status, fulfillment_status = choice(PAYMENT_STATUSES), choice(FULFILLMENT_STATUSES)
yes_or_no = choice(YES_OR_NO)


def requires_shipping(value: bool | str) -> bool:
    """Parse a flag; empty text means true."""
    return value if isinstance(value, bool) else yes_or_no(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHead:
    """An order's own fields as another system writes them: amounts like `12.50`, times with an offset.

    Fields are named as in an order export. Empty text and None both mean that the other system left the field out.
    """

    id: str
    financial_status: str
    created_at: str
    email: str | None = None
    paid_at: str | None = None
    fulfillment_status: str | None = None
    cancelled_at: str | None = None
    currency: str | None = None
    shipping: str | None = None
    total: str | None = None
    shipping_method: str | None = None
    shipping_name: str | None = None
    shipping_address1: str | None = None
    shipping_city: str | None = None
    shipping_zip: str | None = None
    shipping_province: str | None = None
    shipping_country: str | None = None
    shipping_phone: str | None = None


class OrderLine(NamedTuple):
    """A line of an order as another system writes it; `price` is that of one unit."""

    sku: str
    name: str
    quantity: int | str
    price: str
    requires_shipping: bool | str


class ParsedHead(NamedTuple):
    """An order whose lines are still to be parsed."""

    errors: list[FieldError]
    currency: str  # of the lines as well; the default currency if the head's is missing or invalid
    shipping_total: int
    total: int | None  # as the other system states it
    order: partial[NewOrder]  # without total and lines


def parse_order(head: OrderHead, lines: Iterable[OrderLine], *, currency: str) -> NewOrder | list[FieldError]:
    """Return the order, or all errors, with fields like `total` and `lines.0.price`.

    `currency` is for an order that has none. A country must be known: the caller can still correct it.
    """
    parsed_head = parse_head(head, currency)
    errors = list(parsed_head.errors)
    if has_unknown_country(parsed_head.order.keywords["shipping_country"]):
        errors.append(FieldError(field="shipping_country", message=INVALID_COUNTRY))
    parsed_lines: list[NewOrderLine] = []
    for i, line in enumerate(lines):
        match parse_line(line, parsed_head.currency):
            case list() as line_errors:
                errors += [FieldError(field=f"lines.{i}.{e.field}", message=e.message) for e in line_errors]
            case parsed_line:
                parsed_lines.append(parsed_line)
    if len(parsed_lines) > MAX_LINES:
        errors.append(FieldError(field="lines", message=f"must have at most {MAX_LINES:,} entries"))
    return errors or complete_order(parsed_head, parsed_lines)


def has_unknown_country(country: str | None) -> bool:
    """Return whether an address has a country, but one that is not known: no label can be bought for it."""
    return country is not None and country_code(country) is None


def parse_head(head: OrderHead, default_currency: str) -> ParsedHead:
    """Parse a head. With `parse_line` and `complete_order`, for a caller that does not hold all lines in memory."""
    fields = Fields(head)
    order_currency = fields.parse("currency", optional(currency)) or default_currency
    optional_amount = optional(amount(order_currency))
    shipping_total = fields.parse("shipping", optional_amount) or 0
    total = fields.parse("total", optional_amount)
    order = partial(
        NewOrder,
        id=fields.parse("id", order_id),
        email=fields.parse("email", optional(email)),
        payment_status=fields.parse("financial_status", payment_status),
        fulfillment_status=fields.parse("fulfillment_status", fulfillment_status),
        currency=order_currency,
        shipping_total=shipping_total,
        shipping_method=fields.parse("shipping_method", optional_short_text),
        shipping_name=fields.parse("shipping_name", optional_long_text),
        shipping_address1=fields.parse("shipping_address1", optional_long_text),
        shipping_city=fields.parse("shipping_city", optional_short_text),
        shipping_zip=fields.parse("shipping_zip", optional_digits),
        shipping_province=fields.parse("shipping_province", optional_short_text),
        shipping_country=fields.parse("shipping_country", optional_short_text),
        shipping_phone=fields.parse("shipping_phone", optional_digits),
        created_at=fields.parse("created_at", timestamp),
        paid_at=fields.parse("paid_at", optional_timestamp),
        cancelled_at=fields.parse("cancelled_at", optional_timestamp),
    )
    return ParsedHead(fields.errors, order_currency, shipping_total, total, order)


def parse_line(line: OrderLine, currency: str) -> NewOrderLine | list[FieldError]:
    """Parse one line, its price in the currency of its order."""
    values: list[Any] = []
    errors: list[FieldError] = []
    for field, parser in _line_parsers(currency).items():  # twice as fast as Fields, for large files
        value = getattr(line, field)
        try:
            values.append(parser(value.strip() if isinstance(value, str) else value))
        except BadValue as error:
            errors.append(FieldError(field=field, message=str(error)))
    return errors or NewOrderLine(*values)


@cache
def _line_parsers(currency: str) -> dict[str, Callable[[Any], Any]]:
    """Return the parsers of OrderLine's fields, in the order of NewOrderLine's fields."""
    return {
        "sku": short_text,
        "name": long_text,
        "quantity": quantity,
        "price": amount(currency),
        "requires_shipping": requires_shipping,
    }


def complete_order(head: ParsedHead, lines: Sequence[NewOrderLine]) -> NewOrder | list[FieldError]:
    """Build the order from a head without errors and its lines; a missing total is lines plus shipping.

    What the lines add up to is limited even if another total is stated: the shop adds it up in reports and mails.
    """
    if sum(line.quantity for line in lines) > MAX_INTEGER:
        return [FieldError(field="lines", message=f"must have at most {MAX_INTEGER:,} units together")]
    computed = head.shipping_total + sum(line.quantity * line.unit_price for line in lines)
    try:
        total = check_amount(computed)
    except BadValue as error:
        note = "" if head.total is None else "; the lines and the shipping add up to more"
        return [FieldError(field="total", message=f"{error}{note}")]
    return head.order(total=total if head.total is None else head.total, lines=tuple(lines))
