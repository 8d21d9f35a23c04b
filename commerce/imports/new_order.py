"""An order from another system, parsed and checked: the same whether it came in a file or over HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from commerce.messages.base import FieldError


class NewOrderLine(NamedTuple):
    """One line of an order; amounts are in minor units of the order's currency.

    `quantity` is what is to be shipped. `refunded_quantity` is what was ordered and will not be, because it was
    refunded; None if the other system does not say.
    """

    sku: str
    title: str
    quantity: int
    unit_price: int
    requires_shipping: bool
    discount: int = 0  # of the whole line
    fulfillment_status: str = "not_fulfilled"  # at the source
    vendor: str | None = None
    refunded_quantity: int | None = None

    @property
    def ordered(self) -> int:
        """The units that were ordered: prices and the order's total are about these."""
        return self.quantity + (self.refunded_quantity or 0)


class Stated(NamedTuple):
    """What the other system states of an order where the order has what follows from all its fields."""

    total: int | None
    fulfillment_status: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order in the shop's own terms: amounts in minor units, times in UTC.

    `id`, `source`, `external_id`, `name` and `name_key` are those of `commerce.tables.Order`, as if no other order had
    the same name. `stated` and `warnings` are not stored. `warnings` say what is odd about an order that is taken all
    the same, by field as in `OrderHead` or like `lines.0.sku`.
    """

    id: str
    source: str
    external_id: str | None
    name: str | None
    name_key: str
    email: str | None
    payment_status: str
    fulfillment_status: str
    currency: str
    shipping_total: int
    discount_total: int
    discount_code: str | None
    tax_total: int
    taxes_included: bool | None
    duties_total: int
    tip_total: int
    total: int
    refunded_total: int
    outstanding_total: int | None
    payment_method: str | None
    payment_reference: str | None
    risk_level: str | None
    note: str | None
    note_attributes: str | None
    tags: str | None
    shipping_method: str | None
    shipping_name: str | None
    shipping_company: str | None
    shipping_address1: str | None
    shipping_address2: str | None
    shipping_city: str | None
    shipping_zip: str | None
    shipping_province: str | None
    shipping_province_name: str | None
    shipping_country: str | None
    shipping_phone: str | None
    phone: str | None
    billing_name: str | None
    billing_company: str | None
    billing_address1: str | None
    billing_address2: str | None
    billing_city: str | None
    billing_zip: str | None
    billing_province: str | None
    billing_country: str | None
    created_at: datetime
    updated_at: datetime | None
    paid_at: datetime | None
    cancelled_at: datetime | None
    lines: tuple[NewOrderLine, ...]
    stated: Stated
    warnings: tuple[FieldError, ...] = ()
    forgotten_at: datetime | None = None  # when its customer was forgotten, see `commerce/forgotten.py`


IDENTITY_FIELDS = ("id", "source", "external_id", "name", "name_key")
ORDER_FIELDS = tuple(  # the stored ones, without what identifies the order
    name
    for name in NewOrder.__dataclass_fields__
    if name not in (*IDENTITY_FIELDS, "lines", "stated", "warnings", "forgotten_at")
)
