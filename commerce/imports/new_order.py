"""An order as another system hands it over, and the hash by which the same order is known again."""

import json
from dataclasses import dataclass, fields
from datetime import datetime
from hashlib import sha256
from typing import NamedTuple


class NewLine(NamedTuple):
    """One line of an order; the price is in minor units of the order's currency."""

    sku: str
    title: str
    quantity: int
    unit_price: int
    requires_shipping: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOrder:
    """An order as another system knows it, in our words; amounts in minor units, times in UTC."""

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
    lines: tuple[NewLine, ...]


def content_hash(order: NewOrder) -> str:
    """Return what tells this order's content from any other; what is not said has no part in it."""
    content = {f.name: value for f in fields(order) if (value := getattr(order, f.name)) is not None}
    plain = json.dumps(content, default=datetime.isoformat, sort_keys=True, separators=(",", ":"))
    return sha256(plain.encode()).hexdigest()
