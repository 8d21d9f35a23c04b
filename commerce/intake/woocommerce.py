"""Orders as WooCommerce's webhooks send them: the Order resource of its REST API, version 3.

WooCommerce states all amounts without tax (`prices_include_tax` only says how prices were entered) and per line, so the
price of a unit is made from the line's total. It does not say which lines need shipping: all are taken to. Nor does it
say which units were refunded, only how much money.
"""

from decimal import Decimal
from typing import Any

from pydantic import Field

from commerce.currencies import decimals_of
from commerce.imports.line_totals import split_total
from commerce.imports.order_head import OrderHead
from commerce.imports.order_parser import OrderLine
from commerce.intake.shapes import (
    ZERO,
    Entries,
    Ignored,
    MappedOrder,
    Shape,
    Text,
    decimal_of,
    joined,
    total_of,
    written,
)
from commerce.shipping_rules import DEFAULT_RULES

TOPICS = frozenset({"order.created", "order.updated", "order.restored"})
# A failed payment can be tried again, so such an order is unpaid and not cancelled.
PAYMENTS = {
    "pending": "pending",
    "on-hold": "pending",
    "failed": "pending",
    "processing": "paid",
    "completed": "paid",
    "cancelled": "voided",
    "trash": "voided",
    "refunded": "refunded",
}
# The methods of WooCommerce and its plug-in Local Pickup Plus by which customers come to the shop.
PICKUP_METHODS = ("local_pickup", "pickup_location", "local_pickup_plus", "legacy_local_pickup")
DRAFTS = ("checkout-draft", "auto-draft")  # carts that a customer is still filling
CANCELLED = ("cancelled", "trash")
MAX_ATTRIBUTES = 50


class _Line(Shape):
    name: Text = ""
    sku: Text = ""
    quantity: int
    subtotal: str  # without tax, before discounts
    total: str  # without tax, after discounts


class _Fee(Shape):
    name: Text = ""
    total: Text = ""


class _ShippingLine(Shape):
    method_id: Text = ""
    method_title: Text = ""
    total: Text = ""

    @property
    def method(self) -> str:
        """The method as its shop calls it; a pick-up, which can have any title, says what it is."""
        is_pickup = self.method_id in PICKUP_METHODS and not DEFAULT_RULES.is_pickup(self.method_title)
        return joined("Local pickup", self.method_title, by=": ") if is_pickup else self.method_title


class _Refund(Shape):
    total: Text = ""  # negative


class _Coupon(Shape):
    code: Text = ""


class _Meta(Shape):
    key: Text = ""
    value: Any = None


class _Address(Shape):
    first_name: Text = ""
    last_name: Text = ""
    company: Text = ""
    address_1: Text = ""
    address_2: Text = ""
    city: Text = ""
    state: Text = ""
    postcode: Text = ""
    country: Text = ""
    email: Text = ""
    phone: Text = ""

    @property
    def full_name(self) -> str:
        return joined(self.first_name, self.last_name)

    @property
    def is_empty(self) -> bool:
        return not (self.address_1 or self.city or self.postcode)


class Order(Shape):
    """The fields of an order that the shop needs."""

    id: str = Field(pattern=r"^[0-9]+$")
    number: Text = ""
    status: str
    currency: str = Field(pattern=r"^[A-Za-z]{3}$")
    date_created_gmt: str
    date_modified_gmt: str
    date_paid_gmt: Text = ""
    total: str
    total_tax: Text = ""
    shipping_total: Text = ""
    customer_note: Text = ""
    payment_method: Text = ""
    payment_method_title: Text = ""
    transaction_id: Text = ""
    billing: _Address = _Address()
    shipping: _Address = _Address()
    line_items: list[_Line]
    shipping_lines: Entries[_ShippingLine] = ()
    fee_lines: Entries[_Fee] = ()
    coupon_lines: Entries[_Coupon] = ()
    refunds: Entries[_Refund] = ()
    meta_data: Entries[_Meta] = ()

    @property
    def is_unpaid(self) -> bool:
        """Whether a processing order is still to be paid: it then has no time of payment, like cash on delivery."""
        states_time = "date_paid_gmt" in self.model_fields_set
        return not self.date_paid_gmt and (states_time or self.payment_method == "cod")


def map_order(body: bytes) -> MappedOrder | Ignored:
    """Return the order of a webhook's body. Raises ValueError (pydantic's too) if it is none."""
    order = Order.model_validate_json(body)
    status = order.status.removeprefix("wc-")
    if status in DRAFTS:
        return Ignored("a draft, which the customer has not placed yet")
    if status not in PAYMENTS:
        raise ValueError("status: is none of WooCommerce's own")
    lines = [part for line in order.line_items for part in _lines(line, order.currency)]
    lines += [_fee_line(fee) for fee in order.fee_lines if decimal_of(fee.total)]
    return MappedOrder(_head(order, status), lines)


def _head(order: Order, status: str) -> OrderHead:
    refunded = total_of(each.total for each in order.refunds).copy_abs()
    if status == "refunded" and not refunded:
        refunded = decimal_of(order.total)
    to, bill = order.billing if order.shipping.is_empty else order.shipping, order.billing
    return OrderHead(
        id=order.id,
        name=order.number,
        email=bill.email,
        phone=bill.phone,
        financial_status=_payment(order, status),
        fulfillment_status="fulfilled" if status == "completed" else "",
        created_at=_utc(order.date_created_gmt),
        updated_at=_utc(order.date_modified_gmt),
        paid_at=_utc(order.date_paid_gmt),
        cancelled_at=_utc(order.date_modified_gmt) if status in CANCELLED else "",
        currency=order.currency,
        shipping=order.shipping_total,
        taxes=order.total_tax,
        taxes_included=False,
        total=order.total,
        discount_code=joined(*(each.code for each in order.coupon_lines), by=", "),
        discount_amount=written(sum((_discount(line) for line in order.line_items), ZERO)),
        refunded_amount=written(refunded),
        payment_method=order.payment_method_title or order.payment_method,
        payment_reference=order.transaction_id,
        notes=order.customer_note,
        note_attributes=_attributes(order),
        shipping_method=joined(*(line.method for line in order.shipping_lines), by=", "),
        shipping_name=to.full_name,
        shipping_company=to.company,
        shipping_address1=to.address_1,
        shipping_address2=to.address_2,
        shipping_city=to.city,
        shipping_zip=to.postcode,
        shipping_province=to.state,
        shipping_country=to.country,
        shipping_phone=to.phone or bill.phone,
        billing_name=bill.full_name,
        billing_company=bill.company,
        billing_address1=bill.address_1,
        billing_address2=bill.address_2,
        billing_city=bill.city,
        billing_zip=bill.postcode,
        billing_province=bill.state,
        billing_country=bill.country,
    )


def _payment(order: Order, status: str) -> str:
    """Return the payment status. WooCommerce has one status for all; refunds of a part show in their amount."""
    payment = PAYMENTS[status]
    if payment == "voided" and order.date_paid_gmt:
        payment = "paid"
    elif status == "processing" and order.is_unpaid:
        payment = "pending"
    return payment


def _lines(line: _Line, currency: str) -> list[OrderLine]:
    """Return a line, or two with prices of a unit that differ by the smallest amount, so that they add up to it.

    The discount is on the first one.
    """
    if line.quantity <= 0:
        return []
    discount = _discount(line)
    goods = max(decimal_of(line.subtotal), decimal_of(line.total))  # the total is more if the price was raised later
    parts = list(split_total(written(goods), str(line.quantity), decimals_of(currency.upper())))
    return [
        OrderLine(
            sku=line.sku,
            name=line.name,
            quantity=units,
            price=price,
            requires_shipping=True,
            discount=written(discount) if i == 0 and discount > 0 else None,
        )
        for i, (units, price) in enumerate(parts)
    ]


def _discount(line: _Line) -> Decimal:
    return max(decimal_of(line.subtotal) - decimal_of(line.total), ZERO) if line.quantity > 0 else ZERO


def _fee_line(fee: _Fee) -> OrderLine:
    """Return a fee as a line without SKU that needs no shipping; a negative one becomes a discount."""
    return OrderLine(sku="", name=fee.name or "Fee", quantity=1, price=fee.total, requires_shipping=False)


def _attributes(order: Order) -> str:
    """Return what plugins have stored for people; keys that start with `_` are for programs."""
    shown = [
        f"{meta.key}: {meta.value}"
        for meta in order.meta_data
        if meta.key and not meta.key.startswith("_") and isinstance(meta.value, str | int | float)
    ]
    return "\n".join(shown[:MAX_ATTRIBUTES])


def _utc(moment: str) -> str:
    """Return a time in UTC, which WooCommerce writes without an offset."""
    return moment if not moment or moment.endswith("Z") or "+" in moment else f"{moment}Z"
