"""Parse an order from another system. Files and HTTP requests go through the same rules, but for the country.

What would make an order wrong is an error: it is not taken. What leaves it right is a warning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, TypeVar

from commerce.countries import INVALID_COUNTRY, country_code
from commerce.imports.money import amount, check_amount, signed_amount
from commerce.imports.new_order import NewOrder, NewOrderLine, Stated
from commerce.imports.order_amounts import StatedAmounts, reckon
from commerce.imports.order_statuses import FULFILLMENT_STATUSES, LINE_STATUSES, PAYMENT_STATUSES, whole_order_status
from commerce.imports.parsers import (
    LONG_TEXT,
    MAX_INTEGER,
    SHORT_TEXT,
    BadValue,
    Fields,
    choice,
    currency,
    email,
    is_rounded_number,
    optional,
    order_id,
    text,
    text_up_to,
    timestamp,
    whole_number,
    without_apostrophe,
)
from commerce.messages.base import FieldError
from commerce.order_identity import DEFAULT_SOURCE, name_key_of, order_id_of

T = TypeVar("T")

MAX_LINES = 10_000  # of one order
NOTE_TEXT = 5_000  # characters

YES_OR_NO = {"": True, "true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
ROUNDED_ID = "is a number that a spreadsheet has rounded: it is ignored, and the order is known by its name"
ROUNDED_SKU = (
    "looks like a number that a spreadsheet has rounded: if it is, the SKU cannot be known and the order waits; "
    "import the file as the shop exported it"
)
IGNORED = "{reason}; it is ignored"

short_text, long_text = text(SHORT_TEXT), text(LONG_TEXT)
optional_short_text, optional_long_text = optional(short_text), optional(long_text)
optional_digits = optional(lambda value: short_text(without_apostrophe(value)))  # ZIP codes and phone numbers
optional_note = optional(text_up_to(NOTE_TEXT))
optional_label = optional(text_up_to(SHORT_TEXT))
optional_timestamp = optional(timestamp)
quantity = whole_number(minimum=0)
yes_or_no = choice(YES_OR_NO)


def status(values: Mapping[str, str]) -> Callable[[str | None], str]:
    """Return a parser for one of these statuses, in any case, and with blanks or hyphens for underscores."""
    parse = choice(values)
    return lambda value: parse((value or "").replace(" ", "_").replace("-", "_"))


payment_status, fulfillment_status = status(PAYMENT_STATUSES), status(FULFILLMENT_STATUSES)
line_status = status(LINE_STATUSES)


def flag(value: bool | str) -> bool:
    """Parse a flag; empty text means true."""
    return value if isinstance(value, bool) else yes_or_no(value)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHead:
    """An order's own fields as another system writes them: amounts like `12.50`, times with an offset.

    Fields are named as in an order export. `id` is the system's own id, or the order's name if it has no other. Empty
    text and None both mean that the other system left the field out.
    """

    id: str
    financial_status: str
    created_at: str
    name: str | None = None
    email: str | None = None
    phone: str | None = None
    paid_at: str | None = None
    fulfillment_status: str | None = None
    cancelled_at: str | None = None
    updated_at: str | None = None
    currency: str | None = None
    subtotal: str | None = None
    shipping: str | None = None
    taxes: str | None = None
    taxes_included: bool | str | None = None
    duties: str | None = None
    tip: str | None = None
    total: str | None = None
    discount_code: str | None = None
    discount_amount: str | None = None
    refunded_amount: str | None = None
    outstanding_balance: str | None = None
    payment_method: str | None = None
    payment_reference: str | None = None
    risk_level: str | None = None
    notes: str | None = None
    note_attributes: str | None = None
    tags: str | None = None
    shipping_method: str | None = None
    shipping_name: str | None = None
    shipping_company: str | None = None
    shipping_address1: str | None = None
    shipping_address2: str | None = None
    shipping_city: str | None = None
    shipping_zip: str | None = None
    shipping_province: str | None = None
    shipping_province_name: str | None = None
    shipping_country: str | None = None
    shipping_phone: str | None = None
    billing_name: str | None = None
    billing_company: str | None = None
    billing_address1: str | None = None
    billing_address2: str | None = None
    billing_city: str | None = None
    billing_zip: str | None = None
    billing_province: str | None = None
    billing_country: str | None = None


class OrderLine(NamedTuple):
    """A line of an order as another system writes it; `price` is that of one unit, `discount` of the whole line."""

    sku: str
    name: str
    quantity: int | str
    price: str
    requires_shipping: bool | str
    discount: str | None = None
    fulfillment_status: str | None = None
    vendor: str | None = None


class ParsedHead(NamedTuple):
    """An order whose lines are still to be parsed."""

    errors: list[FieldError]
    warnings: list[FieldError]
    currency: str  # of the lines as well; the default currency if the head's is missing or invalid
    amounts: StatedAmounts  # without those of the lines
    order: dict[str, Any]  # the fields of NewOrder that do not depend on the lines


def parse_order(
    head: OrderHead, lines: Iterable[OrderLine], *, currency: str, source: str = DEFAULT_SOURCE
) -> NewOrder | list[FieldError]:
    """Return the order, or all errors, with fields like `total` and `lines.0.price`.

    `currency` is for an order that has none. A country must be known: the caller can still correct it.
    """
    parsed_head = parse_head(head, currency, source)
    errors = list(parsed_head.errors)
    if has_unknown_country(parsed_head.order["shipping_country"]):
        errors.append(FieldError(field="shipping_country", message=INVALID_COUNTRY))
    warnings: list[FieldError] = []
    parsed_lines: list[NewOrderLine] = []
    for i, line in enumerate(lines):
        line_warnings: list[FieldError] = []
        match parse_line(line, parsed_head.currency, line_warnings):
            case list() as line_errors:
                errors += [_of_line(i, error) for error in line_errors]
            case parsed_line:
                parsed_lines.append(parsed_line)
        warnings += [_of_line(i, warning) for warning in line_warnings]
    if len(parsed_lines) > MAX_LINES:
        errors.append(FieldError(field="lines", message=f"must have at most {MAX_LINES:,} entries"))
    match errors or complete_order(parsed_head, parsed_lines):
        case list() as found:
            return found
        case order:
            return replace(order, warnings=(*order.warnings, *warnings)) if warnings else order


def has_unknown_country(country: str | None) -> bool:
    """Return whether an address has a country, but one that is not known: no label can be bought for it."""
    return country is not None and country_code(country) is None


def _of_line(i: int, error: FieldError) -> FieldError:
    return FieldError(field=f"lines.{i}.{error.field}", message=error.message)


def parse_head(head: OrderHead, default_currency: str, source: str = DEFAULT_SOURCE) -> ParsedHead:
    """Parse a head. With `parse_line` and `complete_order`, for a caller that does not hold all lines in memory."""
    fields = _Fields(head)
    order_currency = fields.parse("currency", optional(currency)) or default_currency
    optional_amount, optional_signed = optional(amount(order_currency)), optional(signed_amount(order_currency))
    taxes = fields.tolerate("taxes", optional_signed) or 0
    amounts = StatedAmounts(
        goods=0,
        line_discounts=0,
        discount=_size(fields.tolerate("discount_amount", optional_signed)),
        shipping=fields.parse("shipping", optional_amount) or 0,
        tax=taxes,
        taxes_included=fields.tolerate("taxes_included", lambda value: None if value in (None, "") else flag(value)),
        duties=fields.tolerate("duties", optional_signed) or 0,
        tip=fields.tolerate("tip", optional_signed) or 0,
        subtotal=fields.tolerate("subtotal", optional_signed),
        total=fields.parse("total", optional_amount),
    )
    order = _identity(fields, head, source) | {
        "email": fields.parse("email", optional(email)),
        "payment_status": fields.parse("financial_status", payment_status),
        "fulfillment_status": fields.parse("fulfillment_status", fulfillment_status),
        "currency": order_currency,
        "shipping_total": amounts.shipping,
        "tax_total": taxes,
        "duties_total": amounts.duties,
        "tip_total": amounts.tip,
        "refunded_total": _size(fields.tolerate("refunded_amount", optional_signed)) or 0,
        "outstanding_total": fields.tolerate("outstanding_balance", optional_signed),
        "risk_level": fields.parse("risk_level", lambda value: (optional_label(value) or "").lower() or None),
        "note": fields.parse("notes", optional_note),
        "created_at": fields.parse("created_at", timestamp),
        "updated_at": fields.parse("updated_at", optional_timestamp),
        "paid_at": fields.parse("paid_at", optional_timestamp),
        "cancelled_at": fields.parse("cancelled_at", optional_timestamp),
    }
    for field, parser in SAME_FIELDS.items():
        order[field] = fields.parse(field, parser)
    return ParsedHead(fields.errors, fields.warnings, order_currency, amounts, order)


# The fields that have the same name in OrderHead and in NewOrder, and nothing else to them.
SAME_FIELDS: dict[str, Callable[[str | None], str | None]] = {
    "discount_code": optional_label,
    "payment_method": optional_label,
    "payment_reference": optional_label,
    "note_attributes": optional_note,
    "tags": optional_note,
    "shipping_method": optional_short_text,
    "shipping_name": optional_long_text,
    "shipping_company": optional_long_text,
    "shipping_address1": optional_long_text,
    "shipping_address2": optional_long_text,
    "shipping_city": optional_short_text,
    "shipping_zip": optional_digits,
    "shipping_province": optional_short_text,
    "shipping_province_name": optional_short_text,
    "shipping_country": optional_short_text,
    "shipping_phone": optional_digits,
    "phone": optional(lambda value: text_up_to(SHORT_TEXT)(without_apostrophe(value))),
    "billing_name": optional(text_up_to(LONG_TEXT)),
    "billing_company": optional(text_up_to(LONG_TEXT)),
    "billing_address1": optional(text_up_to(LONG_TEXT)),
    "billing_address2": optional(text_up_to(LONG_TEXT)),
    "billing_city": optional_label,
    "billing_zip": optional(lambda value: text_up_to(SHORT_TEXT)(without_apostrophe(value))),
    "billing_province": optional_label,
    "billing_country": optional_label,
}


class _Fields(Fields):
    """Fields of which some may be invalid without making the order wrong."""

    def __init__(self, source: object) -> None:
        super().__init__(source)
        self.warnings: list[FieldError] = []

    def tolerate(self, field: str, parser: Callable[[Any], T | None]) -> T | None:
        """Return a field's value; if it is invalid, add a warning and return None."""
        value = getattr(self._source, field)
        try:
            return parser(value.strip() if isinstance(value, str) else value)
        except BadValue as error:
            self.warnings.append(FieldError(field=field, message=IGNORED.format(reason=error)))
            return None


def _identity(fields: _Fields, head: OrderHead, source: str) -> dict[str, str | None]:
    """Return the fields that identify the order. An id that is just the name without `#` is no id of its own."""
    name = fields.parse("name", optional_short_text)
    own_id = without_apostrophe(head.id.strip()).removesuffix(".0")
    if name and is_rounded_number(own_id):
        fields.warnings.append(FieldError(field="id", message=ROUNDED_ID))
        own_id = ""
    name_key = name_key_of(name) if name else own_id
    external_id = own_id if own_id and own_id != name_key else None
    try:
        order_id(external_id or name_key)
    except BadValue as error:
        fields.errors.append(FieldError(field="id", message=str(error)))
    return {
        "id": order_id_of(source, external_id or name_key),
        "source": source,
        "external_id": external_id,
        "name": name,
        "name_key": name_key,
    }


def _size(signed: int | None) -> int | None:
    """Return a discount or refund without its sign: some systems write them as negative amounts."""
    return None if signed is None else abs(signed)


def parse_line(line: OrderLine, currency: str, warnings: list[FieldError]) -> NewOrderLine | list[FieldError]:
    """Parse one line, its amounts in the currency of its order; add what is odd but leaves the order right.

    The line may have a quantity of 0 or a negative price: `complete_order` decides what that means.
    """
    values: list[Any] = []
    errors: list[FieldError] = []
    for value, (field, parser) in zip(
        line, _line_parsers(currency), strict=False
    ):  # faster than Fields, for long files
        try:
            values.append(parser(value.strip() if isinstance(value, str) else value))
        except BadValue as error:
            errors.append(FieldError(field=field, message=str(error)))
    if errors:
        return errors
    if "+" in values[0] and is_rounded_number(values[0]):
        warnings.append(FieldError(field="sku", message=ROUNDED_SKU))
    if any(line[len(values) :]):
        fields = _Fields(line)
        values.append(_size(fields.tolerate("discount", optional(signed_amount(currency)))) or 0)
        values.append(fields.tolerate("fulfillment_status", line_status) or "not_fulfilled")
        values.append(fields.parse("vendor", optional_label))
        warnings += fields.warnings
    return NewOrderLine(*values)


@cache
def _line_parsers(currency: str) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """Return the parsers of OrderLine's required fields, in its order and that of NewOrderLine."""
    return (
        ("sku", short_text),
        ("name", long_text),
        ("quantity", quantity),
        ("price", signed_amount(currency)),
        ("requires_shipping", flag),
    )


def complete_order(head: ParsedHead, lines: Sequence[NewOrderLine]) -> NewOrder | list[FieldError]:
    """Build the order from a head without errors and its lines; a missing total is what the amounts add up to.

    A line without units is left out, and a line with a negative price counts as a discount, both with a warning. What
    the lines add up to is limited even if another total is stated: the shop adds it up in reports and mails.
    """
    warnings = list(head.warnings)
    goods: list[NewOrderLine] = []
    units = amount_of_goods = discounts = negative = 0
    statuses: set[str] = set()
    for line in lines:  # one loop, for long files
        _, _, line_units, price, _, discount, line_status, _ = line
        if price < 0:
            negative -= line_units * price
        elif line_units:
            goods.append(line)
            units += line_units
            amount_of_goods += line_units * price
            discounts += discount
            statuses.add(line_status)
    if negative:
        warnings.append(FieldError(field="lines", message="a line with a negative price is taken as a discount"))
    if any(not line.quantity for line in lines):
        warnings.append(FieldError(field="lines", message="a line with quantity 0 is left out"))
    if not goods:
        warnings.append(FieldError(field="lines", message="no line is left, so there is nothing to fulfill"))
    if units > MAX_INTEGER:
        return [FieldError(field="lines", message=f"must have at most {MAX_INTEGER:,} units together")]
    amounts = head.amounts._replace(goods=amount_of_goods, line_discounts=discounts + negative)
    try:
        check_amount(amounts.goods + amounts.shipping + abs(amounts.tax) + abs(amounts.duties) + abs(amounts.tip))
    except BadValue as error:
        note = "" if amounts.total is None else "; the lines and the shipping add up to more"
        return [FieldError(field="total", message=f"{error}{note}")]
    reckoning = reckon(amounts, head.currency)
    if reckoning.problem:
        warnings.append(FieldError(field="total", message=reckoning.problem))
    stated = Stated(amounts.total, head.order["fulfillment_status"])
    status, problem = whole_order_status(stated.fulfillment_status, statuses)
    if problem:
        warnings.append(FieldError(field="fulfillment_status", message=problem))
    return NewOrder(
        **head.order
        | {
            "fulfillment_status": status,
            "total": reckoning.total,
            "discount_total": reckoning.discount_total,
            "taxes_included": reckoning.taxes_included,
            "lines": tuple(goods),
            "stated": stated,
            "warnings": tuple(warnings),
        }
    )
