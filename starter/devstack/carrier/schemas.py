"""What the embedded carrier answers with: objects of the shape of EasyPost's shipments API."""

import secrets
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

from pydantic import BaseModel, Field

Json = dict[str, Any]

MODE = "test"
CARRIER = "USPS"
# service: price of the first pound at home and abroad, days on the way
SERVICES = {
    "Express": (Decimal("34.15"), Decimal("66.90"), 1),
    "Priority": (Decimal("7.42"), Decimal("44.30"), 2),
    "GroundAdvantage": (Decimal("6.07"), Decimal("17.85"), 3),
}
OUNCES_PER_POUND = 16
PRICE_PER_POUND = Decimal("0.85")


class WantedAddress(BaseModel):
    """An address as it is given."""

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


class WantedParcel(BaseModel):
    """A parcel as it is given: inches and ounces."""

    length: float | None = Field(None, gt=0)
    width: float | None = Field(None, gt=0)
    height: float | None = Field(None, gt=0)
    predefined_package: str | None = None
    weight: float = Field(gt=0, le=2400)


class Wanted(BaseModel):
    """A shipment as it is asked for."""

    to_address: WantedAddress
    from_address: WantedAddress
    parcel: WantedParcel
    reference: str | None = None
    options: Json = {}
    customs_info: Json | None = None


def shipment(given: Json) -> Json:
    """Return a new shipment with its rates, given a dumped `Wanted`; nothing is bought yet."""
    new = _object("shp", "Shipment")
    sender, recipient = address(given["from_address"]), address(given["to_address"])
    options = {"currency": "USD", "payment": {"type": "SENDER"}, "date_advance": 0} | given["options"]
    empty = ("batch_id", "batch_status", "batch_message", "insurance", "order_id", "scan_form", "tracking_code")
    bought = ("postage_label", "selected_rate", "tracker", "refund_status")
    new |= dict.fromkeys((*empty, *bought))
    new |= {"is_return": False, "messages": [], "forms": [], "fees": [], "status": "unknown", "usps_zone": 4}
    new |= {"reference": given["reference"], "options": options, "customs_info": given["customs_info"]}
    new |= {"from_address": sender, "return_address": sender, "to_address": recipient, "buyer_address": recipient}
    new["parcel"] = _object("prcl", "Parcel") | given["parcel"]
    return new | {"rates": rates(new)}


def address(given: Json) -> Json:
    """Return an address as the carrier keeps it."""
    unknown = dict.fromkeys(("carrier_facility", "residential", "federal_tax_id", "state_tax_id"))
    return _object("adr", "Address") | given | unknown | {"verifications": {}}


def rates(of: Json) -> list[Json]:
    """Return what each service would cost for a shipment."""
    abroad = of["from_address"]["country"] != of["to_address"]["country"]
    more = max(Decimal(0), Decimal(str(of["parcel"]["weight"])) / OUNCES_PER_POUND - 1) * PRICE_PER_POUND
    return [
        _rate(of, service, (far if abroad else near) + more, days) for service, (near, far, days) in SERVICES.items()
    ]


def _rate(of: Json, service: str, price: Decimal, days: int) -> Json:
    currency, amount = of["options"]["currency"], f"{price:.2f}"
    days_fields = {"delivery_days": days, "delivery_date": None, "delivery_date_guaranteed": False}
    return (
        _object("rate", "Rate")
        | {"service": service, "carrier": CARRIER, "rate": amount, "currency": currency, "billing_type": "easypost"}
        | {"retail_rate": amount, "retail_currency": currency, "list_rate": amount, "list_currency": currency}
        | days_fields
        | {"est_delivery_days": days, "shipment_id": of["id"], "carrier_account_id": "ca_embedded"}
    )


def bought(of: Json, rate: Json, root: str) -> Json:
    """Return the shipment with a label bought at this rate; `root`: the URL under which labels are shown."""
    tracking_code = f"94001{secrets.randbelow(10**17):017d}"
    fees = [_fee("LabelFee", "0.00000"), _fee("PostageFee", f"{Decimal(rate['rate']):.5f}")]
    label, tracker = _label(f"{root}/labels/{of['id']}.html"), _tracker(of["id"], tracking_code, root)
    new = {"postage_label": label, "tracker": tracker, "tracking_code": tracking_code, "selected_rate": rate}
    return of | new | {"fees": fees, "updated_at": now()}


def refunded(of: Json) -> Json:
    """Return the shipment with its refund asked for."""
    return of | {"refund_status": "submitted", "updated_at": now()}


def _label(url: str) -> Json:
    others = ("label_pdf_url", "label_zpl_url", "label_epl2_url", "label_file")
    label = _object("pl", "PostageLabel") | dict.fromkeys(others)
    label |= {"date_advance": 0, "integrated_form": "none", "label_date": now(), "label_resolution": 300}
    label |= {"label_size": "4x6", "label_type": "default", "label_file_type": "text/html", "label_url": url}
    del label["mode"]
    return label


def _tracker(shipment_id: str, tracking_code: str, root: str) -> Json:
    tracker = _object("trk", "Tracker") | dict.fromkeys(("signed_by", "weight", "est_delivery_date", "carrier_detail"))
    tracker |= {"tracking_code": tracking_code, "status": "unknown", "status_detail": "unknown", "carrier": CARRIER}
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
    """Return this moment as the API writes times."""
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
