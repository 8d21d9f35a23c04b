"""Example responses of the routes that show orders, for the OpenAPI document."""

from starter.api.workflow_examples import LISTED as RUN
from starter.api.workflow_examples import ORDER

PLACED, DONE = "2026-03-02T12:00:00Z", "2026-03-02T12:00:01Z"
LISTED = {
    "order_id": "1001",
    "number": "#1001",
    "source": "shop",
    "status": "fulfilled",
    "hold_reason": None,
    "payment_status": "captured",
    "customer": "A… L…",
    "country": "GB",
    "units": 2,
    "total": 2895,
    "currency": "GBP",
    "created_at": PLACED,
}
ADDRESS = {
    "name": "Ann Lee",
    "company": None,
    "address1": "1 High Street",
    "address2": None,
    "city": "London",
    "zip": "N1 9GU",
    "province": None,
    "country": "GB",
    "phone": None,
}
FULFILLMENT = "5d0c9f8e-1f7a-4a38-9a3c-0c6b8a3a7d52"
EVENT = {
    "id": "0f6f3d5e-52e5-5d0b-8a57-2f7a53f3e4a1",
    "type": "order.fulfilled",
    "aggregate": "order/1001",
    "data": {
        "order_id": "1001",
        "fulfillment_id": FULFILLMENT,
        "fulfillment_ids": [FULFILLMENT],
        "units": 2,
        "total": 2895,
        "currency": "GBP",
    },
    "created_at": DONE,
    "published_at": DONE,
}
SHOWN = LISTED | {
    "customer": "Ann Lee",
    "revision": 2,
    "email": "ann@customer.example",
    "shipping_method": "Standard",
    "payment_method": None,
    "risk_level": "low",
    "note": None,
    "tags": None,
    "shipping_address": ADDRESS,
    "billing_address": dict.fromkeys(ADDRESS),
    "corrected": ["shipping_zip"],
    "shipping_total": 395,
    "discount_total": 0,
    "tax_total": 483,
    "refunded_total": 0,
    "outstanding_total": None,
    "updated_at": None,
    "cancelled_at": None,
    "refused_at": None,
    "lines": [
        {
            "position": 1,
            "sku": "MUG-WHITE",
            "title": "White mug",
            "quantity": 2,
            "refunded_quantity": None,
            "returned_quantity": 0,
            "returning_quantity": 0,
            "unit_price": 1250,
            "discount": 0,
            "requires_shipping": True,
            "lacks_product": False,
        }
    ],
    "reservations": [],
    "picks": [],
    "captures": [],
    "refunds": [],
    "returns": [],
    "fulfillments": [
        {
            "fulfillment_id": FULFILLMENT,
            "location": "Main",
            "units": 2,
            "carrier": "USPS",
            "tracking_number": "TRK0000001001",
            "label_url": "https://labels.example/1001.png",
            "created_at": DONE,
            "completed_at": DONE,
            "cancelled_at": None,
        }
    ],
    "mails": [
        {
            "key": "order-shipped/1001",
            "kind": "order-shipped",
            "status": "sent",
            "attempts": 1,
            "error": None,
            "created_at": DONE,
            "sent_at": DONE,
        }
    ],
    "events": [EVENT],
    "answers": [],
    "actions": [
        {"action": "retry", "reason": "The customer corrected the address", "actor": "http", "created_at": PLACED}
    ],
    "transaction_id": ORDER,
    "runs": [RUN],
    "runs_missing": None,
}
