"""Shipments: where a carrier brings goods of an order, or of a return, from which place, and with which label."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders
from commerce.countries import country_code
from commerce.errors import AddressIncomplete, FulfillmentMissing, ReturnNotFound
from commerce.messages.orders import Label, LabelRequest
from commerce.messages.returns import ReturnRef

RECIPIENT = """coalesce(shipping_name, '') AS name, coalesce(shipping_company, '') AS company,
    coalesce(shipping_address1, '') AS street1, coalesce(shipping_address2, '') AS street2,
    coalesce(shipping_city, '') AS city, coalesce(shipping_zip, '') AS zip,
    coalesce(nullif(shipping_province, ''), shipping_province_name, '') AS state,
    coalesce(btrim(shipping_country), '') AS country,
    coalesce(nullif(shipping_phone, ''), orders.phone, '') AS phone"""
SHIPMENT = text(f"""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, decisive_revision, number, currency,
           {RECIPIENT},
           CASE WHEN location.street1 IS NOT NULL THEN to_jsonb(location) END AS location
    FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
    LEFT JOIN locations AS location ON location.id = from_location_id
    WHERE order_id = :order_id AND fulfillment.cancelled_at IS NULL
      AND fulfillment.id = coalesce(CAST(:fulfillment_id AS uuid), fulfillment.id)
    ORDER BY position LIMIT 1
""")  # noqa: S608 - our own constant
RETURN_SHIPMENT = text(f"""
    SELECT returned.id AS fulfillment_id, number, currency, forgotten_at IS NOT NULL AS forgotten,
           {RECIPIENT},
           CASE WHEN location.street1 IS NOT NULL THEN to_jsonb(location) END AS location
    FROM order_returns AS returned JOIN orders ON orders.id = order_id
    LEFT JOIN locations AS location ON location.id = location_id
    WHERE returned.id = :return_id AND order_id = :order_id AND returned.state = 'open'
""")  # noqa: S608 - our own constant
RECORD_RETURN_LABEL = text("""
    UPDATE order_returns
    SET shipment_id = :shipment_id, tracking_number = :tracking_number, carrier = :carrier, label_url = :label_url
    WHERE id = :return_id AND state = 'open' RETURNING id
""")
RECORD_LABEL = text("""
    UPDATE fulfillments
    SET shipment_id = :shipment_id, tracking_number = :tracking_number, carrier = :carrier, label_url = :label_url
    WHERE id = (SELECT id FROM fulfillments
                WHERE order_id = :order_id AND cancelled_at IS NULL
                  AND id = coalesce(CAST(:fulfillment_id AS uuid), id)
                ORDER BY position LIMIT 1)
    RETURNING id
""")


@dataclass(frozen=True, repr=False)
class Address:
    """A postal address; fields that are not known are empty. It has no repr, because it is personal data."""

    name: str
    street1: str
    city: str
    zip: str
    state: str
    country: str  # ISO 3166, two letters
    phone: str
    street2: str = ""
    company: str = ""


@dataclass(frozen=True)
class Shipment:
    """What a carrier needs to know to ship an order. It holds personal data and never leaves the step."""

    fulfillment_id: str  # or the id of the return
    order_id: str
    number: str  # what the customer calls the order
    currency: str  # ISO 4217
    recipient: Address
    sender: Address | None = None  # of the location; None: that of the settings
    is_return: bool = False  # the parcel goes from the recipient to the sender

    def sender_or(self, default: Address) -> Address:
        """Return the address that the parcel is sent from. What a location leaves open is taken from the settings."""
        if self.sender is None:
            return default
        return replace(self.sender, name=self.sender.name or default.name, phone=self.sender.phone or default.phone)


async def load(tx: AsyncSession, request: LabelRequest) -> Shipment:
    """Return the shipment of a live fulfillment.

    Raises FulfillmentMissing, OrderChanged if a change since the process has read the order matters to processing, and
    AddressIncomplete without a known country. Only the country is required, because old orders have nothing else.
    """
    order_id = request.order_id
    values = {"order_id": order_id, "fulfillment_id": request.fulfillment_id}
    row = (await tx.execute(SHIPMENT, values)).one_or_none()
    if row is None:
        raise FulfillmentMissing(order_id)
    orders.check_revision(order_id, request.revision, row.decisive_revision)
    return _shipment(order_id, row)


async def load_return(tx: AsyncSession, ref: ReturnRef) -> Shipment:
    """Return the shipment that brings the goods of an open return back, from the customer to the location.

    Raises ReturnNotFound, and AddressIncomplete without a known country, or if the customer was forgotten.
    """
    row = (await tx.execute(RETURN_SHIPMENT, dict(ref))).one_or_none()
    if row is None:
        raise ReturnNotFound(ref.return_id)
    if row.forgotten:
        raise AddressIncomplete(ref.order_id, missing="street, because its customer was forgotten")
    return replace(_shipment(ref.order_id, row), is_return=True)


def _shipment(order_id: str, row: Row[Any]) -> Shipment:
    if (country := country_code(row.country)) is None:
        raise AddressIncomplete(order_id, missing="known country" if row.country else "country")
    recipient = Address(
        name=row.name,
        street1=row.street1,
        city=row.city,
        zip=row.zip,
        state=row.state,
        country=country,
        phone=row.phone,
        street2=row.street2,
        company=row.company,
    )
    return Shipment(row.fulfillment_id, order_id, row.number, row.currency, recipient, _sender(row.location))


def _sender(location: Mapping[str, str | None] | None) -> Address | None:
    if location is None:
        return None
    fields = ("street1", "city", "zip", "state", "country", "phone", "street2", "company")
    return Address(name=location["sender_name"] or "", **{field: location[field] or "" for field in fields})


async def record_label(tx: AsyncSession, request: LabelRequest, label: Label) -> None:
    """Store the label on a live fulfillment; raises FulfillmentMissing."""
    values = dict(label) | {"order_id": request.order_id, "fulfillment_id": request.fulfillment_id}
    if (await tx.execute(RECORD_LABEL, values)).one_or_none() is None:
        raise FulfillmentMissing(request.order_id)


async def record_return_label(tx: AsyncSession, ref: ReturnRef, label: Label) -> None:
    """Store the label on an open return; raises ReturnNotFound."""
    if (await tx.execute(RECORD_RETURN_LABEL, dict(label) | {"return_id": ref.return_id})).one_or_none() is None:
        raise ReturnNotFound(ref.return_id)
