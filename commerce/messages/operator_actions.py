"""Actions of operators on processes and schedules."""

from typing import Literal

from pydantic import Field

from commerce.messages.base import Message

ActionName = Literal[
    "cancel",
    "retry",
    "dismiss",
    "pause",
    "resume",
    "trigger",
    "backfill",
    "edit",
    "hold",
    "release",
    "cancel-order",
    "return-order",
    "set-stock",
    "resend",
    "add-webhook",
    "remove-webhook",
    "test-webhook",
    "set-location",
    "link-product",
    "retry-intake",
]


class Action(Message):
    """An operator's action on a process or schedule, or on an order, under the id of its process.

    Others are on `webhook/ID`, `stock/SKU`, `location/ID`, `product/SKU` or `intake`.

    The reason is free text that may hold personal data.
    """

    process_id: str
    run_id: str = ""
    action: ActionName
    reason: str = Field(max_length=1_000)
    actor: str = Field("", max_length=200)
