"""The hashes by which an import recognises an order or cart that it has imported before."""

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from commerce.imports.new_order import ORDER_FIELDS, NewOrder, NewOrderLine

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

# The version of what is hashed, at the start of an order's hash. The hashes of version 1 have no such prefix.
VERSION = "2:"
HASHED_FIELDS = tuple(name for name in ORDER_FIELDS if name != "updated_at")  # a later time alone is no change
FIRST_LINE_FIELDS = 5  # of version 1: sku, title, quantity, unit_price, requires_shipping
LINE_DEFAULTS = tuple(NewOrderLine._field_defaults.values())  # of all later fields
FIRST_FIELDS = (  # of version 1, besides id, lines and what `Stated` has
    *("email", "payment_status", "currency", "shipping_total", "shipping_method", "shipping_name"),
    *("shipping_address1", "shipping_city", "shipping_zip", "shipping_province", "shipping_country", "shipping_phone"),
    *("created_at", "paid_at", "cancelled_at"),
)


def content_hash(thing: "DataclassInstance") -> str:
    """Return the SHA-256 of a cart's fields; fields that are None are left out."""
    return _sha256({f.name: getattr(thing, f.name) for f in fields(thing)})


def order_hash(order: NewOrder) -> str:
    """Return the hash of what an order says, without what identifies it. Fields that are None are left out."""
    content = {name: getattr(order, name) for name in HASHED_FIELDS}
    return VERSION + _sha256(content | {"lines": [_hashed(line) for line in order.lines]})


def first_order_hash(order: NewOrder) -> str:
    """Return the hash that version 1 had of the same order; equal if nothing but later columns was added."""
    content = {name: getattr(order, name) for name in FIRST_FIELDS}
    goods = order.shipping_total + sum(line.ordered * line.unit_price for line in order.lines)
    content |= {
        "id": order.external_id or order.name_key,
        "fulfillment_status": order.stated.fulfillment_status,
        "total": goods if order.stated.total is None else order.stated.total,
        "lines": [line._replace(quantity=line.ordered)[:FIRST_LINE_FIELDS] for line in order.lines],
    }
    return _sha256(content)


def _hashed(line: NewOrderLine) -> tuple[object, ...]:
    """Return the fields of a line without those at its end that say nothing."""
    if line[FIRST_LINE_FIELDS:] == LINE_DEFAULTS:
        return line[:FIRST_LINE_FIELDS]
    return line[:-1] if line.refunded_quantity is None else line


def _sha256(content: Mapping[str, Any]) -> str:
    filled = {name: value for name, value in content.items() if value is not None}
    canonical = json.dumps(filled, default=datetime.isoformat, sort_keys=True, separators=(",", ":"))
    return sha256(canonical.encode()).hexdigest()
