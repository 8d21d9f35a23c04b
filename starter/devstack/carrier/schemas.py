"""The objects of EasyPost's shipments API, as the embedded carrier returns them."""

import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

Json = dict[str, Any]

MODE = "test"
CARRIER = "USPS"
# by service: price of the first pound within the country and abroad, and days to deliver
SERVICES = {
    "Express": (Decimal("34.15"), Decimal("66.90"), 1),
    "Priority": (Decimal("7.42"), Decimal("44.30"), 2),
    "GroundAdvantage": (Decimal("6.07"), Decimal("17.85"), 3),
}
OUNCES_PER_POUND = 16
PRICE_PER_POUND = Decimal("0.85")


class AddressInput(BaseModel):
    """An address in a request."""

    name: str | None = None
    company: str | None = None
    street1: str | None = None
    street2: str | None = None
    city: str | None = None
    state: str | None = None
    zip: str | None = None
    country: str | None = None
    phone: str | None = None
    email: str | None = None


class ParcelInput(BaseModel):
    """A parcel in a request, in inches and ounces."""

    length: float | None = Field(None, gt=0)
    width: float | None = Field(None, gt=0)
    height: float | None = Field(None, gt=0)
    predefined_package: str | None = None
    weight: float = Field(gt=0, le=2400)


class ShipmentInput(BaseModel):
    """A shipment in a request."""

    to_address: AddressInput
    from_address: AddressInput
    parcel: ParcelInput
    reference: str | None = None
    is_return: bool = False
    options: Json = {}
    customs_info: Json | None = None


def new_shipment(values: Json) -> Json:
    """Return a new shipment with its rates but no label, from the values of a ShipmentInput."""
    new = _object("shp", "Shipment")
    sender, recipient = new_address(values["from_address"]), new_address(values["to_address"])
    is_return = values["is_return"]
    options = {"currency": "USD", "payment": {"type": "SENDER"}, "date_advance": 0} | values["options"]
    empty = ("batch_id", "batch_status", "batch_message", "insurance", "order_id", "scan_form", "tracking_code")
    bought = ("postage_label", "selected_rate", "tracker", "refund_status")
    new |= dict.fromkeys((*empty, *bought))
    new |= {"is_return": is_return, "messages": [], "forms": [], "fees": [], "status": "unknown", "usps_zone": 4}
    new |= {"reference": values["reference"], "options": options, "customs_info": values["customs_info"]}
    new |= {"from_address": sender, "return_address": sender, "to_address": recipient, "buyer_address": recipient}
    if is_return:
        new |= {"from_address": recipient, "return_address": recipient, "to_address": sender}
    new["parcel"] = _object("prcl", "Parcel") | values["parcel"]
    return new | {"rates": _rates(new)}


def new_address(values: Json) -> Json:
    """Return an address object."""
    unknown = dict.fromkeys(("carrier_facility", "residential", "federal_tax_id", "state_tax_id"))
    return _object("adr", "Address") | values | unknown | {"verifications": {}}


def _rates(shipment: Json) -> list[Json]:
    """Return the price of each service for a shipment."""
    abroad = shipment["from_address"]["country"] != shipment["to_address"]["country"]
    extra = max(Decimal(0), Decimal(str(shipment["parcel"]["weight"])) / OUNCES_PER_POUND - 1) * PRICE_PER_POUND
    return [
        _rate(shipment, service, (foreign if abroad else domestic) + extra, days)
        for service, (domestic, foreign, days) in SERVICES.items()
    ]


def _rate(shipment: Json, service: str, price: Decimal, days: int) -> Json:
    currency, amount = shipment["options"]["currency"], f"{price:.2f}"
    days_fields = {"delivery_days": days, "delivery_date": None, "delivery_date_guaranteed": False}
    return (
        _object("rate", "Rate")
        | {"service": service, "carrier": CARRIER, "rate": amount, "currency": currency, "billing_type": "easypost"}
        | {"retail_rate": amount, "retail_currency": currency, "list_rate": amount, "list_currency": currency}
        | days_fields
        | {"est_delivery_days": days, "shipment_id": shipment["id"], "carrier_account_id": "ca_embedded"}
    )


def with_label(shipment: Json, rate: Json, root: str) -> Json:
    """Return the shipment with a label bought at this rate; `root` is the root URL of the carrier."""
    tracking_code = f"94001{secrets.randbelow(10**17):017d}"
    fees = [_fee("LabelFee", "0.00000"), _fee("PostageFee", f"{Decimal(rate['rate']):.5f}")]
    label, tracker = _label(f"{root}/labels/{shipment['id']}.html"), _tracker(shipment["id"], tracking_code, root)
    new = {"postage_label": label, "tracker": tracker, "tracking_code": tracking_code, "selected_rate": rate}
    return shipment | new | {"fees": fees, "updated_at": now()}


def with_refund(shipment: Json) -> Json:
    """Return the shipment with a requested refund."""
    return shipment | {"refund_status": "submitted", "updated_at": now()}


def with_state(shipment: Json, *, tracker: str | None, refund: str | None) -> Json:
    """Return the shipment with a bought label after its parcel was scanned, or its refund decided."""
    new: Json = {"updated_at": now()}
    if tracker:
        new["tracker"] = shipment["tracker"] | {"status": tracker, "updated_at": now()}
    if refund:
        new["refund_status"] = refund
    return shipment | new


def _label(url: str) -> Json:
    others = ("label_pdf_url", "label_zpl_url", "label_epl2_url", "label_file")
    label = _object("pl", "PostageLabel") | dict.fromkeys(others)
    label |= {"date_advance": 0, "integrated_form": "none", "label_date": now(), "label_resolution": 300}
    label |= {"label_size": "4x6", "label_type": "default", "label_file_type": "text/html", "label_url": url}
    del label["mode"]
    return label


def _tracker(shipment_id: str, tracking_code: str, root: str) -> Json:
    tracker = _object("trk", "Tracker") | dict.fromkeys(("signed_by", "weight", "est_delivery_date", "carrier_detail"))
    tracker |= {
        "tracking_code": tracking_code,
        "status": "pre_transit",
        "status_detail": "label_created",
        "carrier": CARRIER,
    }
    return tracker | {
        "shipment_id": shipment_id,
        "tracking_details": [],
        "fees": [],
        "public_url": f"{root}/labels/{shipment_id}.html",
    }


def _fee(kind: str, amount: str) -> Json:
    return {"object": "Fee", "type": kind, "amount": amount, "charged": True, "refunded": False}


def _object(prefix: str, name: str) -> Json:
    at = now()
    return {"id": f"{prefix}_{uuid4().hex}", "object": name, "created_at": at, "updated_at": at, "mode": MODE}


def now() -> str:
    """Return the current time in the format of the API."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
