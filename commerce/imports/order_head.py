"""Parse what an order says of itself: everything but its lines."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

from commerce.imports.money import amount, signed_amount
from commerce.imports.order_amounts import StatedAmounts
from commerce.imports.order_statuses import parse_fulfillment_status, parse_payment_status
from commerce.imports.parsers import (
    LONG_TEXT,
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
    without_apostrophe,
)
from commerce.messages.base import FieldError
from commerce.order_identity import DEFAULT_SOURCE, name_key_of, order_id_of

T = TypeVar("T")

NOTE_TEXT = 5_000  # characters
YES_OR_NO = {"": True, "true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
ROUNDED_ID = "is a number that a spreadsheet has rounded: it is ignored, and the order is known by its name"
IGNORED = "{reason}; it is ignored"

optional_short_text, optional_long_text = optional(text(SHORT_TEXT)), optional(text(LONG_TEXT))
optional_digits = optional(lambda value: text(SHORT_TEXT)(without_apostrophe(value)))  # ZIP codes and phone numbers
optional_note = optional(text_up_to(NOTE_TEXT))
optional_label = optional(text_up_to(SHORT_TEXT))
optional_timestamp = optional(timestamp)
yes_or_no = choice(YES_OR_NO)


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


class ParsedHead(NamedTuple):
    """An order whose lines are still to be parsed."""

    errors: list[FieldError]
    warnings: list[FieldError]
    currency: str  # of the lines as well; the default currency if the head's is missing or invalid
    amounts: StatedAmounts  # without those of the lines
    order: dict[str, Any]  # the fields of NewOrder that do not depend on the lines


def parse_head(head: OrderHead, default_currency: str, source: str = DEFAULT_SOURCE) -> ParsedHead:
    """Parse a head. With `parse_line` and `complete_order`, for a caller that does not hold all lines in memory."""
    fields = TolerantFields(head)
    order_currency = fields.parse("currency", optional(currency)) or default_currency
    optional_amount, optional_signed = optional(amount(order_currency)), optional(signed_amount(order_currency))
    taxes = fields.tolerate("taxes", optional_signed) or 0
    amounts = StatedAmounts(
        goods=0,
        line_discounts=0,
        discount=magnitude(fields.tolerate("discount_amount", optional_signed)),
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
        "payment_status": fields.parse("financial_status", parse_payment_status),
        "fulfillment_status": fields.parse("fulfillment_status", parse_fulfillment_status),
        "currency": order_currency,
        "shipping_total": amounts.shipping,
        "tax_total": taxes,
        "duties_total": amounts.duties,
        "tip_total": amounts.tip,
        "refunded_total": magnitude(fields.tolerate("refunded_amount", optional_signed)) or 0,
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


class TolerantFields(Fields):
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


def _identity(fields: TolerantFields, head: OrderHead, source: str) -> dict[str, str | None]:
    """Return the fields that identify the order. An id that is just the name without `#` is no id of its own."""
    name = fields.parse("name", optional(lambda value: _without_decimal(text(SHORT_TEXT)(value))))
    own_id = _without_decimal(without_apostrophe(head.id.strip()))
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


def _without_decimal(value: str) -> str:
    """Return 1001 for 1001.0, as spreadsheets write a number of a column that also has empty cells."""
    return value[:-2] if value.endswith(".0") and value[:-2].isdigit() else value


def magnitude(signed: int | None) -> int | None:
    """Return a discount or refund without its sign: some systems write them as negative amounts."""
    return None if signed is None else abs(signed)
