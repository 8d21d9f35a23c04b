"""Parse an order from another system. Files and HTTP requests go through the same rules, but for the country.

What would make an order wrong is an error: it is not taken. What leaves it right is a warning.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, NamedTuple

from commerce.countries import INVALID_COUNTRY, country_code
from commerce.imports.money import check_amount, signed_amount
from commerce.imports.new_order import NewOrder, NewOrderLine, Stated
from commerce.imports.order_amounts import reckon
from commerce.imports.order_head import (
    OrderHead,
    ParsedHead,
    TolerantFields,
    flag,
    magnitude,
    optional_label,
    parse_head,
)
from commerce.imports.order_statuses import parse_line_status, whole_order_status
from commerce.imports.parsers import (
    LONG_TEXT,
    MAX_INTEGER,
    SHORT_TEXT,
    BadValue,
    is_rounded_number,
    optional,
    text,
    whole_number,
)
from commerce.messages.base import FieldError
from commerce.order_identity import DEFAULT_SOURCE

__all__ = ["MAX_LINES", "OrderHead", "OrderLine", "complete_order", "parse_head", "parse_line", "parse_order"]

MAX_LINES = 10_000  # of one order
ROUNDED_SKU = (
    "looks like a number that a spreadsheet has rounded: if it is, the SKU cannot be known and the order waits; "
    "import the file as the shop exported it"
)

NO_COUNTRY = "is missing from the address: no label can be bought for the order"

short_text, long_text = text(SHORT_TEXT), text(LONG_TEXT)
quantity = whole_number(minimum=0)


def optional_quantity(value: int | str | None) -> int | None:
    """Parse a number of units, or nothing."""
    return None if value is None or value == "" else quantity(value)


class OrderLine(NamedTuple):
    """A line of an order as another system writes it; `price` is that of one unit, `discount` of the whole line.

    `quantity` is what was ordered; `refunded_quantity` is what of it was refunded and will not be shipped.
    """

    sku: str
    name: str
    quantity: int | str
    price: str
    requires_shipping: bool | str
    discount: str | None = None
    fulfillment_status: str | None = None
    vendor: str | None = None
    refunded_quantity: int | str | None = None


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
    if any(line[len(values) :]) or line.refunded_quantity == 0:
        fields = TolerantFields(line)
        values.append(magnitude(fields.tolerate("discount", optional(signed_amount(currency)))) or 0)
        values.append(fields.tolerate("fulfillment_status", parse_line_status) or "not_fulfilled")
        values.append(fields.parse("vendor", optional_label))
        refunded = fields.parse("refunded_quantity", optional_quantity)
        warnings += fields.warnings
        if refunded is not None and refunded > values[2]:
            fields.errors.append(FieldError(field="refunded_quantity", message="must not be more than the quantity"))
        if fields.errors:
            return fields.errors
        if refunded is not None:
            values[2] -= refunded
            values.append(refunded)
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
    statuses: set[tuple[str, bool]] = set()
    payment, refunded_total = head.order["payment_status"], head.order["refunded_total"]
    if payment == "partially_refunded" or (payment == "captured" and refunded_total):
        lines = _without_restocked(lines)
    for line in lines:  # one loop, for long files
        _, _, left, price, requires_shipping, discount, line_status, _, refunded = line
        line_units = left + refunded if refunded else left
        if price < 0:
            negative -= line_units * price
        elif line_units:
            goods.append(line)
            units += line_units
            amount_of_goods += line_units * price
            discounts += discount
            if left:
                statuses.add((line_status, requires_shipping))
    if negative:
        warnings.append(FieldError(field="lines", message="a line with a negative price is taken as a discount"))
    if any(not line.ordered for line in lines):
        warnings.append(FieldError(field="lines", message="a line with quantity 0 is left out"))
    if not statuses:
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
    if payment == "captured" and refunded_total:  # as in the files of systems with one status for all
        payment = "partially_refunded" if refunded_total < reckoning.total else "refunded"
    stated = Stated(amounts.total, head.order["fulfillment_status"])
    status, problem = whole_order_status(stated.fulfillment_status, statuses)
    if problem:
        warnings.append(FieldError(field="fulfillment_status", message=problem))
    if status == "not_fulfilled" and _lacks_country(head.order) and any(shipped for _, shipped in statuses):
        warnings.append(FieldError(field="shipping_country", message=NO_COUNTRY))
    return NewOrder(
        **head.order
        | {
            "payment_status": payment,
            "fulfillment_status": status,
            "total": reckoning.total,
            "discount_total": reckoning.discount_total,
            "taxes_included": reckoning.taxes_included,
            "lines": tuple(goods),
            "stated": stated,
            "warnings": tuple(warnings),
        }
    )


def _lacks_country(order: Mapping[str, Any]) -> bool:
    """Return whether an order to be shipped has an address without a country. One to be picked up has no address."""
    has_address = order["shipping_address1"] or order["shipping_city"] or order["shipping_zip"]
    return bool(has_address and order["shipping_method"] and not (order["shipping_country"] or order["cancelled_at"]))


def _without_restocked(lines: Sequence[NewOrderLine]) -> Sequence[NewOrderLine]:
    """Return the lines of a partly refunded order: the units of those that were put back in stock are refunded.

    If all were put back, the order is restocked instead.
    """
    if all(line.fulfillment_status == "restocked" for line in lines):
        return lines
    return [
        line._replace(quantity=0, refunded_quantity=line.ordered) if line.fulfillment_status == "restocked" else line
        for line in lines
    ]
