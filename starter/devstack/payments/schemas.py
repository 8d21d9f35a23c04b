"""The objects of Stripe's API, as the embedded payment provider returns them."""

import time
from typing import Any, Literal
from uuid import uuid4

from pydantic import BaseModel, Field

Json = dict[str, Any]


class NewPayment(BaseModel):
    """A payment that a customer has made. Its amount is in Stripe's units."""

    id: str = Field(pattern=r"^pi_[A-Za-z0-9]+$")
    amount: int = Field(gt=0)
    currency: str = Field(pattern=r"^[a-z]{3}$")
    status: Literal["succeeded", "requires_capture", "requires_payment_method"] = "succeeded"


def new_payment_intent(payment: NewPayment) -> Json:
    """Return the payment intent of a payment."""
    captured = payment.amount if payment.status == "succeeded" else 0
    capturable = payment.amount if payment.status == "requires_capture" else 0
    empty = ("canceled_at", "cancellation_reason", "customer", "description", "last_payment_error", "latest_charge")
    return (
        _object(payment.id, "payment_intent")
        | dict.fromkeys(empty)
        | {"amount": payment.amount, "amount_received": captured, "amount_capturable": capturable}
        | {"currency": payment.currency, "status": payment.status, "capture_method": "automatic", "metadata": {}}
    )


def captured(intent: Json, amount: int) -> Json:
    """Return the payment intent after this amount was captured."""
    return intent | {"status": "succeeded", "amount_received": amount, "amount_capturable": 0}


def cancelled(intent: Json) -> Json:
    """Return the payment intent after it was cancelled."""
    reason = {"cancellation_reason": "requested_by_customer"}
    return intent | reason | {"status": "canceled", "canceled_at": int(time.time()), "amount_capturable": 0}


def new_refund(intent: Json, amount: int, metadata: Json) -> Json:
    """Return a refund of a payment intent."""
    empty = ("balance_transaction", "charge", "reason", "receipt_number", "source_transfer_reversal")
    return (
        _object(f"re_{uuid4().hex}", "refund")
        | dict.fromkeys((*empty, "transfer_reversal"))
        | {"amount": amount, "currency": intent["currency"], "payment_intent": intent["id"], "status": "succeeded"}
        | {"metadata": metadata, "failure_reason": None}
    )


def _object(object_id: str, name: str) -> Json:
    return {"id": object_id, "object": name, "created": int(time.time()), "livemode": False}
