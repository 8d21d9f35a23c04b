"""An order from another system, parsed and checked: the same whether it came in a file or over HTTP."""

from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple


class NewOrderLine(NamedTuple):
    """One line of an order; the price is in minor units of the order's currency."""

    sku: str
    title: str
    quantity: int
    unit_price: int
    requires_shipping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order in the shop's own terms: amounts in minor units, times in UTC."""

    id: str
    email: str | None
    payment_status: str
    fulfillment_status: str
    currency: str
    shipping_total: int
    total: int
    shipping_method: str | None
    shipping_name: str | None
    shipping_address1: str | None
    shipping_city: str | None
    shipping_zip: str | None
    shipping_province: str | None
    shipping_country: str | None
    shipping_phone: str | None
    created_at: datetime
    paid_at: datetime | None
    cancelled_at: datetime | None
    lines: tuple[NewOrderLine, ...]
