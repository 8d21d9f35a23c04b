"""Orders as operators see them: one in full, or a page of a list. Amounts are in minor units."""

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.return_views import ReturnView
from commerce.messages.runs import Run

OrderStatus = Literal[
    "open",
    "waiting_for_stock",
    "on_hold",
    "fulfilled",
    "fulfilled_elsewhere",
    "cancelling",
    "cancelled",
    "unpaid",
    "other",
]


class OrderSummary(Message):
    """An order of a list. `customer` is masked, such as `A… L…`; `hold_reason` is set only while it is on hold."""

    order_id: str
    number: str = Field(description="What customers call the order")
    source: str
    status: OrderStatus
    hold_reason: str | None = None
    payment_status: str
    customer: str | None = None
    country: str | None = Field(None, description="Where it is shipped to: an ISO 3166 code, or what the source stated")
    units: int
    total: int
    currency: str
    created_at: datetime


class OrderPage(Message):
    """A page of a list of orders, last placed first; `next_cursor` requests the next page, None: there is none."""

    orders: list[OrderSummary]
    next_cursor: str | None = None


class Address(Message):
    """An address as the source stated it, or as an operator has corrected it."""

    name: str | None = None
    company: str | None = None
    address1: str | None = None
    address2: str | None = None
    city: str | None = None
    zip: str | None = None
    province: str | None = None
    country: str | None = None
    phone: str | None = None


class LineView(Message):
    """A line of an order. `quantity` is to be shipped; 0: the source has removed the line, or refunded all of it."""

    position: int
    sku: str
    title: str
    quantity: int
    refunded_quantity: int | None = Field(None, description="Units that are not shipped, if known")
    returned_quantity: int = Field(0, description="Units that came back")
    returning_quantity: int = Field(0, description="Units in returns that are open")
    unit_price: int
    discount: int
    requires_shipping: bool
    lacks_product: bool = Field(description="Whether the order waits until this line is linked to a product")


class ReservationView(Message):
    """Units reserved for a line of the order."""

    position: int = Field(description="Of the line")
    sku: str = Field(description="Of the inventory item")
    location: str
    quantity: int


class FulfillmentView(Message):
    """What the order takes from one location, with its label if it has one."""

    fulfillment_id: str
    location: str | None = None
    units: int
    carrier: str | None = None
    tracking_number: str | None = None
    label_url: str | None = None
    created_at: datetime
    completed_at: datetime | None = None
    cancelled_at: datetime | None = None


class PickLineView(Message):
    """Units of a SKU that the warehouse was asked for; `missing` is null until it has answered."""

    sku: str
    quantity: int
    missing: int | None = None


class PickView(Message):
    """What the warehouse was asked to pick for a fulfillment: `asked`, all of it `picked`, `short`, or `withdrawn`."""

    pick_id: str
    fulfillment_id: str
    round: int = Field(description="How often it was asked for, from 1")
    state: Literal["asked", "picked", "short", "withdrawn"]
    location: str | None = None
    lines: list[PickLineView]
    created_at: datetime
    answered_at: datetime | None = None
    withdrawn_at: datetime | None = None


class CaptureView(Message):
    """An authorized payment that is captured. `ours`: by this shop, and by nobody else."""

    amount: int
    provider: str
    ours: bool
    captured_at: datetime


class RefundView(Message):
    """A refund of this shop: `due`, `pending` while the provider may still fail to make it, or `made`."""

    purpose: str = Field(description="cancel-order, return-order, or refund-capture when the order is undone")
    return_id: str | None = None
    amount: int
    currency: str
    state: Literal["due", "pending", "made"]
    provider: str = Field(description="shop: a person makes it where the order comes from")
    created_at: datetime
    made_at: datetime | None = None


class MailView(Message):
    """A mail or alert about the order."""

    key: str
    kind: str
    status: Literal["queued", "sending", "sent", "failed"]
    attempts: int
    error: str | None = None
    created_at: datetime
    sent_at: datetime | None = None


class EventView(Message):
    """An event; `data` holds ids, amounts and times. That of `order.updated` names the fields that have changed."""

    id: str
    type: str
    aggregate: str = Field(description="What the event is about, such as order/1001")
    data: dict[str, Any]
    created_at: datetime
    published_at: datetime | None = None


class AnswerView(Message):
    """A step that waits or has waited for an answer; without an `answer` it has none yet."""

    step: str
    round: int
    asked_at: datetime
    until: datetime
    answer: str | None = None
    reason: str | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None


class ActionView(Message):
    """What an operator has done, and why."""

    action: str
    reason: str
    actor: str
    created_at: datetime


class OrderFacts(OrderSummary):
    """An order in full, as the shop's database has it; `customer` is not masked here.

    Of mails, events, answers and actions there are the last 100; upkeep deletes old ones.
    """

    revision: int = Field(description="Raised by each change of the order")
    email: str | None = None
    shipping_method: str | None = None
    payment_method: str | None = None
    risk_level: str | None = None
    note: str | None = None
    tags: str | None = None
    shipping_address: Address
    billing_address: Address
    corrected: list[str] = Field(
        default=[], description="Fields that an operator has corrected, and whose source still states another value"
    )
    shipping_total: int
    discount_total: int
    tax_total: int
    refunded_total: int
    outstanding_total: int | None = None
    updated_at: datetime | None = None
    cancelled_at: datetime | None = None
    refused_at: datetime | None = Field(None, description="When it was last refused for lack of stock")
    lines: list[LineView]
    reservations: list[ReservationView]
    fulfillments: list[FulfillmentView]
    picks: list[PickView] = Field(default=[], description="Oldest first")
    captures: list[CaptureView] = Field(default=[], description="Oldest first")
    refunds: list[RefundView] = Field(default=[], description="Oldest first")
    returns: list[ReturnView] = Field(default=[], description="Oldest first")
    mails: list[MailView]
    events: list[EventView]
    answers: list[AnswerView]
    actions: list[ActionView]


class OrderView(OrderFacts):
    """An order in full, with the runs of its process, latest first: the last 20 that Temporal still has.

    `runs` is None if Temporal is unavailable; `runs_missing` is the reason.
    """

    transaction_id: str
    runs: list[Run] | None = None
    runs_missing: str | None = None
