"""Orders as Shopify's webhooks send them: the Order resource of its REST Admin API.

All amounts are those in the shop's own currency (`shop_money`, which the plain fields repeat), as in the admin's export
of orders, not those that the customer saw (`presentment_money`). So a file and a webhook tell the same of an order.

`quantity` is what was ordered, `current_quantity` what is left after edits and refunds: only that is shipped. Totals
follow an edit (`current_…`) as long as nothing was refunded; a refund is not taken off the total, because we keep it as
the refunded amount.
"""

from decimal import ROUND_DOWN, Decimal

from pydantic import Field

from commerce.currencies import decimals_of
from commerce.imports.order_head import OrderHead
from commerce.imports.order_parser import OrderLine
from commerce.intake.shapes import (
    ZERO,
    Entries,
    Flag,
    Ignored,
    MappedOrder,
    Shape,
    Text,
    decimal_of,
    joined,
    total_of,
    written,
)

# Their bodies are the order. `orders/edited` and `orders/delete` have other ones.
TOPICS = frozenset(
    {
        *("orders/create", "orders/paid", "orders/updated", "orders/cancelled", "orders/fulfilled"),
        "orders/partially_fulfilled",
    }
)
LINE_STATUSES = {"not_eligible": ""}  # other values are the same in an export


class _Money(Shape):
    amount: Text = ""


class _MoneySet(Shape):
    shop_money: _Money | None = None


class _Allocation(Shape):
    amount: Text = ""


class _Line(Shape):
    sku: Text = ""
    name: Text = ""
    title: Text = ""
    vendor: Text = ""
    quantity: int
    current_quantity: int | None = None
    price: str
    requires_shipping: Flag = False
    fulfillment_status: Text = ""
    discount_allocations: Entries[_Allocation] = ()
    tip: object = None
    tip_payment_gateway: Text = ""

    @property
    def is_tip(self) -> bool:
        """Whether this is no product but the customer's tip, which the order has as an amount, too."""
        return self.tip is not None or bool(self.tip_payment_gateway)


class _ShippingLine(Shape):
    title: Text = ""
    price: Text = ""
    discounted_price: str | None = None
    discount_allocations: Entries[_Allocation] = ()
    is_removed: Flag = False

    @property
    def discounts(self) -> Decimal:
        return total_of(part.amount for part in self.discount_allocations)

    @property
    def final_price(self) -> Decimal:
        """The price after discounts."""
        if self.discounted_price is not None:
            return decimal_of(self.discounted_price)
        return decimal_of(self.price) - self.discounts


class _Transaction(Shape):
    kind: Text = ""
    status: Text = ""
    amount: Text = ""


class _Refund(Shape):
    transactions: Entries[_Transaction] = ()


class _Code(Shape):
    code: Text = ""


class _Attribute(Shape):
    name: Text = ""
    value: Text = ""


class _Address(Shape):
    name: Text = ""
    first_name: Text = ""
    last_name: Text = ""
    company: Text = ""
    address1: Text = ""
    address2: Text = ""
    city: Text = ""
    zip: Text = ""
    province: Text = ""
    province_code: Text = ""
    country: Text = ""
    country_code: Text = ""
    phone: Text = ""

    @property
    def full_name(self) -> str:
        return self.name or joined(self.first_name, self.last_name)


class Order(Shape):
    """The fields of an order that the shop needs."""

    id: str = Field(pattern=r"^[0-9]+$")
    name: Text = ""
    test: Flag = False
    email: Text = ""
    contact_email: Text = ""
    phone: Text = ""
    financial_status: Text = ""
    fulfillment_status: Text = ""
    created_at: str
    updated_at: str
    cancelled_at: Text = ""
    currency: str = Field(pattern=r"^[A-Za-z]{3}$")
    total_price: str
    current_total_price: str | None = None
    total_tax: Text = ""
    current_total_tax: str | None = None
    taxes_included: Flag = False
    total_discounts: Text = ""
    total_tip_received: Text = ""
    original_total_duties_set: _MoneySet | None = None
    current_total_duties_set: _MoneySet | None = None
    total_outstanding: Text = ""
    discount_codes: Entries[_Code] = ()
    note: Text = ""
    note_attributes: Entries[_Attribute] = ()
    tags: Text = ""
    payment_gateway_names: Entries[str] = ()
    shipping_lines: Entries[_ShippingLine] = ()
    line_items: list[_Line]
    refunds: Entries[_Refund] = ()
    shipping_address: _Address | None = None
    billing_address: _Address | None = None

    @property
    def refunded(self) -> Decimal:
        """What customers got back."""
        return total_of(
            part.amount
            for refund in self.refunds
            for part in refund.transactions
            if part.kind == "refund" and part.status == "success"
        )

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will be shipped any more; Shopify then sets all current quantities to 0."""
        return bool(self.cancelled_at) or self.financial_status in ("refunded", "voided")


def map_order(body: bytes) -> MappedOrder | Ignored:
    """Return the order of a webhook's body. Raises ValueError (pydantic's too) if it is none."""
    order = Order.model_validate_json(body)
    if order.test:
        return Ignored("a test order")
    lines = [line for line in (_line(order, each) for each in order.line_items if not each.is_tip) if line]
    return MappedOrder(_head(order, lines), lines)


def _head(order: Order, lines: list[OrderLine]) -> OrderHead:
    is_edited = not order.refunded and not order.is_over  # or may be: then the current totals are those to pay
    total = (order.current_total_price if is_edited else None) or order.total_price
    tax = (order.current_total_tax if is_edited else None) or order.total_tax
    shipping = [line for line in order.shipping_lines if not line.is_removed]
    to, bill = order.shipping_address or _Address(), order.billing_address or _Address()
    return OrderHead(
        id=order.id,
        name=order.name,
        email=order.email or order.contact_email,
        phone=order.phone,
        financial_status=order.financial_status or "pending",
        fulfillment_status=order.fulfillment_status,
        created_at=order.created_at,
        updated_at=order.updated_at,
        cancelled_at=order.cancelled_at,
        currency=order.currency,
        shipping=written(sum((line.final_price for line in shipping), ZERO)),
        taxes=tax,
        taxes_included=order.taxes_included,
        duties=_duties(order, is_edited=is_edited),
        tip=written(_tip(order)),
        total=total,
        discount_code=joined(*(each.code for each in order.discount_codes), by=", "),
        discount_amount=written(_discount(order, lines)),
        refunded_amount=written(order.refunded),
        outstanding_balance=order.total_outstanding,
        payment_method=joined(*order.payment_gateway_names, by=", "),
        notes=order.note,
        note_attributes=joined(*(f"{each.name}: {each.value}" for each in order.note_attributes), by="\n"),
        tags=order.tags,
        shipping_method=joined(*(line.title for line in shipping), by=", "),
        shipping_name=to.full_name,
        shipping_company=to.company,
        shipping_address1=to.address1,
        shipping_address2=to.address2,
        shipping_city=to.city,
        shipping_zip=to.zip,
        shipping_province=to.province_code or to.province,
        shipping_province_name=to.province,
        shipping_country=to.country_code or to.country,
        shipping_phone=to.phone,
        billing_name=bill.full_name,
        billing_company=bill.company,
        billing_address1=bill.address1,
        billing_address2=bill.address2,
        billing_city=bill.city,
        billing_zip=bill.zip,
        billing_province=bill.province_code or bill.province,
        billing_country=bill.country_code or bill.country,
    )


def _line(order: Order, line: _Line) -> OrderLine | None:
    """Return a line with the units to ship; None if none are left."""
    is_reduced = line.current_quantity is not None and not order.is_over
    units = line.current_quantity if is_reduced and line.current_quantity is not None else line.quantity
    if units <= 0:
        return None
    discount = total_of(part.amount for part in line.discount_allocations)
    if units < line.quantity:  # the discounts are those of the units that were ordered
        cent = Decimal(1).scaleb(-decimals_of(order.currency.upper()))
        discount = (discount * units / line.quantity).quantize(cent, ROUND_DOWN)
    return OrderLine(
        sku=line.sku,
        name=line.name or line.title,
        quantity=units,
        price=line.price,
        requires_shipping=line.requires_shipping,
        discount=written(discount) if discount else None,
        fulfillment_status=LINE_STATUSES.get(line.fulfillment_status, line.fulfillment_status) or None,
        vendor=line.vendor or None,
    )


def _discount(order: Order, lines: list[OrderLine]) -> Decimal:
    """Return the discounts of the goods. Those of the shipping are in its price, and lines have parts of the order's.

    An order of an old API version has no parts: then all but the discounts of the shipping are those of the goods.
    """
    of_lines = total_of(line.discount for line in lines)
    of_shipping = sum((line.discounts for line in order.shipping_lines), ZERO)
    has_parts = any(line.discount_allocations for line in order.line_items)
    return of_lines if has_parts else max(decimal_of(order.total_discounts) - of_shipping, ZERO)


def _tip(order: Order) -> Decimal:
    """Return the tip; some versions have it only as a line."""
    if tip := decimal_of(order.total_tip_received):
        return tip
    return sum((decimal_of(line.price) * line.quantity for line in order.line_items if line.is_tip), ZERO)


def _duties(order: Order, *, is_edited: bool) -> str | None:
    chosen = (order.current_total_duties_set if is_edited else None) or order.original_total_duties_set
    return chosen.shop_money.amount if chosen and chosen.shop_money else None
