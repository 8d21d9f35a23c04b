"""The shape of Shopify's orders: the Order resource of its REST Admin API."""

from decimal import Decimal

from pydantic import Field

from commerce.intake.shapes import Entries, Flag, Shape, Text, decimal_of, joined, total_of


class _Money(Shape):
    amount: Text = ""


class _MoneySet(Shape):
    shop_money: _Money | None = None


class _Allocation(Shape):
    amount: Text = ""


class Line(Shape):
    """A line; `current_quantity` is what is left of it, in newer versions."""

    id: Text = ""
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
        """The discounts on this shipping."""
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


class _RefundedLine(Shape):
    line_item_id: Text = ""
    quantity: int = 0


class _Refund(Shape):
    transactions: Entries[_Transaction] = ()
    refund_line_items: Entries[_RefundedLine] = ()


class _Code(Shape):
    code: Text = ""


class _Attribute(Shape):
    name: Text = ""
    value: Text = ""


class Address(Shape):
    """An address; some of its fields say the same."""

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
        """The name of the recipient."""
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
    line_items: list[Line]
    refunds: Entries[_Refund] = ()
    shipping_address: Address | None = None
    billing_address: Address | None = None

    @property
    def refunded(self) -> Decimal:
        """What customers got back."""
        return total_of(
            part.amount
            for refund in self.refunds
            for part in refund.transactions
            if part.kind == "refund" and part.status == "success"
        )

    def left_of(self, line: Line) -> int:
        """Return the units of a line that are still to be shipped; older versions only say which were refunded."""
        if self.is_over:
            return line.quantity
        if line.current_quantity is not None:
            return line.current_quantity
        refunded = sum(
            part.quantity
            for refund in self.refunds
            for part in refund.refund_line_items
            if line.id and part.line_item_id == line.id
        )
        return max(line.quantity - refunded, 0)

    @property
    def is_over(self) -> bool:
        """Whether nothing of it will be shipped any more; Shopify then sets all current quantities to 0."""
        return bool(self.cancelled_at) or self.financial_status in ("refunded", "voided")
