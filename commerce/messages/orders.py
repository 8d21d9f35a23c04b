"""Messages of `order-processing` and its steps: ids, amounts and short texts, no personal data and no order lines."""

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from commerce.messages.base import Message, ProcessInput, count_of
from commerce.messages.steps import BeginResult
from commerce.order_identity import ORDER_ID_PATTERN

OrderId = Annotated[str, Field(pattern=ORDER_ID_PATTERN)]
TRACKING_NOTE = "tracking number "  # how the note of a step starts that leads to a parcel
MAX_INSUFFICIENT_ITEMS = 100
# The memo of a run that must fail with OrderOnHold if the order is on hold. A memo is not copied to a run that somebody
# starts like this one in Temporal's UI, so that run clears the hold.
UNLESS_HELD = "unless_held"
# The memo of a run that began anew because the order had changed: how often in a row.
RESTARTS = "restarts"


def order_process_id(order_id: str) -> str:
    """Return the process id of an order, which is also its business key in the ledger."""
    return f"order-processing-{order_id}"


class OrderProcessing(ProcessInput):
    """The input of `order-processing`.

    `unless_held`: fail with OrderOnHold if the order is on hold. Without it, starting the order clears the hold.
    """

    order_id: OrderId
    unless_held: bool = False


class OrderRef(Message):
    """The input of most steps: an order.

    `revision`: the one that the process has read. Steps that decide fail with OrderChanged if the order has a newer
    one. None: any revision will do.
    """

    order_id: str
    revision: int | None = None


class OrderStart(OrderRef):
    """The input of `validate-order`."""

    unless_held: bool = False


class InsufficientItem(Message):
    """A variant with too little stock: units requested by all lines, and whole units available now."""

    variant_id: str
    sku: str
    requested: int
    available: int


class FulfillmentRequest(OrderRef):
    """The input of `create-fulfillment`. `per_location`: one fulfillment for each location, otherwise one for all."""

    per_location: bool = False


class Completion(OrderRef):
    """The input of `complete-order`. `short_pick`: not everything was found; the lines then say what is shipped."""

    short_pick: bool = False


class LabelRequest(OrderRef):
    """The input of `create-shipping-label`. `fulfillment_id`: None for the order's first or only fulfillment."""

    fulfillment_id: str | None = None


class ValidOrder(BeginResult):
    """The result of `validate-order`: what the process needs to know about the order."""

    order_id: str = ""
    revision: int | None = None  # None in older histories
    lines: int = 0
    units: int = 0
    needs_label: bool = False
    has_email: bool = False
    review: list[str] = Field(default=[])  # why a person must review it, as that person reads it; empty: nobody must
    picks: bool = False  # the warehouse picks its goods and answers, before labels are bought
    captures: bool = False  # its payment is authorized, and captured before the order is completed
    fulfilled: "CompletedOrder | None" = None  # set if an earlier run has fulfilled the order

    def summary(self) -> str:
        """Return the size of the order."""
        size = f"{count_of(self.units, 'unit')} on {count_of(self.lines, 'line')}"
        return "fulfilled by an earlier run" if self.fulfilled else size


class CompletedOrder(Message):
    """A fulfilled order: the result of `complete-order`, and of `validate-order` after an earlier run."""

    fulfillment_id: str  # the first one's
    tracking_number: str | None = None  # the first one
    inventory_reserved: bool = True
    notification_sent: bool = False
    fulfillment_ids: list[str] = Field(default=[])  # of all; empty in older histories, as are the tracking numbers
    tracking_numbers: list[str] = Field(default=[])


class Reserved(Message):
    """The result of `reserve-inventory`: the numbers of reservations, of units of inventory items, and of locations."""

    reservations: int
    units: int
    locations: int = 1

    def summary(self) -> str:
        """Return the number of units."""
        return f"{count_of(self.units, 'unit')} reserved"


class FulfillmentPart(Message):
    """One of several fulfillments of an order: what it takes from one location."""

    fulfillment_id: str
    needs_label: bool


class CreatedFulfillment(Message):
    """The result of `create-fulfillment`; `created` is false if the order already had a live fulfillment.

    If there are several, `parts` has all of them, and `fulfillment_id` is the first one's.
    """

    fulfillment_id: str
    units: int
    created: bool = True
    parts: list[FulfillmentPart] = Field(default=[])

    def summary(self) -> str:
        """Return the number of units, and of locations if there are several."""
        return f"{count_of(self.units, 'unit')} taken" + (f" from {len(self.parts)} locations" if self.parts else "")


class Label(Message):
    """A bought shipping label."""

    shipment_id: str
    tracking_number: str
    carrier: str | None = None  # that delivers the parcel, as shops name it, such as USPS
    label_url: str = Field("", exclude=True)  # shows the customer's address, so it must not get into histories

    def summary(self) -> str:
        """Return the tracking number."""
        return f"{TRACKING_NOTE}{self.tracking_number}"


def shipped_key(order_id: str) -> str:
    """Return the key of the mail that notifies the customer of the shipment."""
    return f"order-shipped/{order_id}"


class ReviewRequest(OrderRef):
    """The input of `review-order`."""

    reasons: list[str]


class Refusal(OrderRef):
    """The input of `record-refusal`: an order that is refused for stock."""

    items: list[InsufficientItem]
    count: int
    at: datetime


class Refused(Message):
    """The result of `record-refusal`: the shop's calendar day. Admins are alerted once per order and day (V2)."""

    day: date


class Hold(OrderRef):
    """The input of `hold-order`; `reason` is a short code, not free text."""

    reason: str


class OrderChange(Message):
    """The signal `order-changed`: an order has this revision now."""

    revision: int


class OrderResult(Message):
    """The result of `order-processing`.

    `tracking_number` is the first of `tracking_numbers`, which has those of all parcels.

    `waiting_for_product`: a line has no product yet; the order is processed once all have one. `cancelled` and
    `fulfilled_elsewhere`: the shop has cancelled or shipped the order while it was processed. `rejected`: a person has
    rejected it at its review, and it is on hold.
    """

    order_id: str
    status: Literal[
        "fulfilled", "insufficient_inventory", "waiting_for_product", "cancelled", "fulfilled_elsewhere", "rejected"
    ]
    fulfillment_id: str | None = None
    tracking_number: str | None = None
    inventory_reserved: bool = False
    notification_sent: bool = False
    tracking_numbers: list[str] = Field(default=[])
    insufficient_items: list[InsufficientItem] = Field(default=[], max_length=MAX_INSUFFICIENT_ITEMS)
    insufficient_count: int = 0
