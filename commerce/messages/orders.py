"""What an order's process and its steps are asked and answer.

Ids, amounts and short summaries only: nothing personal, and never an order's lines.
"""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from commerce.messages.base import Message, ProcessInput
from commerce.messages.steps import BeginResult

OrderId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._:-]{1,100}$")]
MAX_INSUFFICIENT_ITEMS = 100


def order_process_id(order_id: str) -> str:
    """Return the only workflow id under which an order is processed; it is the order's business key too."""
    return f"order-processing-{order_id}"


class OrderProcessing(ProcessInput):
    """The input of `order-processing`.

    `unless_held`: leave an order alone that is on hold; a person who starts one means it, and clears the hold.
    """

    order_id: OrderId
    unless_held: bool = False


class OrderRef(Message):
    """The input of most steps: which order."""

    order_id: str


class OrderStart(OrderRef):
    """The input of the first step."""

    unless_held: bool = False


class InsufficientItem(Message):
    """A variant that stock is short of: whole units requested over all lines, and units that could be made now."""

    variant_id: str
    sku: str
    requested: int
    available: int


class ValidOrder(BeginResult):
    """What `validate-order` learnt: counts and flags that steer the process."""

    order_id: str = ""
    lines: int = 0
    units: int = 0
    needs_label: bool = False
    has_email: bool = False
    fulfilled: "CompletedOrder | None" = None  # set when an earlier run has fulfilled it already

    def summary(self) -> str:
        """Return how large the order is."""
        return "fulfilled by an earlier run" if self.fulfilled else f"{self.units} units on {self.lines} lines"


class CompletedOrder(Message):
    """What an earlier run of a fulfilled order has achieved."""

    fulfillment_id: str
    tracking_number: str | None = None
    inventory_reserved: bool = True
    notification_sent: bool = False


class Reserved(Message):
    """What `reserve-inventory` holds: number of reservations and units over all of them."""

    reservations: int
    units: int

    def summary(self) -> str:
        """Return how much is held."""
        return f"{self.units} units held"


class CreatedFulfillment(Message):
    """What `create-fulfillment` made; `created` is false when it found a live one."""

    fulfillment_id: str
    units: int
    created: bool = True

    def summary(self) -> str:
        """Return how much was taken."""
        return f"{self.units} units taken"


class Label(Message):
    """A bought shipping label."""

    shipment_id: str
    tracking_number: str
    label_url: str = Field("", exclude=True)  # opens a page with the customer's address: stays out of histories

    def summary(self) -> str:
        """Return what the parcel is followed by."""
        return f"tracking number {self.tracking_number}"


def shipped_key(order_id: str) -> str:
    """Return the key of the one mail that tells an order's customer that it was shipped."""
    return f"order-shipped/{order_id}"


class Refusal(Message):
    """An order refused for stock: what `record-refusal` writes down."""

    order_id: str
    items: list[InsufficientItem]
    count: int
    at: datetime


class Refused(Message):
    """The shop's calendar day of a refusal; admins are told once per order and day."""

    day: date


class Hold(Message):
    """Why an order must not be picked up by the pending-orders job: a short code, no free text."""

    order_id: str
    reason: str


class OrderResult(Message):
    """The result of `order-processing`."""

    order_id: str
    status: Literal["fulfilled", "insufficient_inventory"]
    fulfillment_id: str | None = None
    tracking_number: str | None = None
    inventory_reserved: bool = False
    notification_sent: bool = False
    insufficient_items: list[InsufficientItem] = Field(default=[], max_length=MAX_INSUFFICIENT_ITEMS)
    insufficient_count: int = 0
