"""The data of each type of event, for subscribers and webhooks: ids, amounts and times, but no personal data."""

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.orders import InsufficientItem


class EventData(Message):
    """The data of an event; `type` is its name without prefix."""

    type: ClassVar[str]


class OrderPlaced(EventData):
    """A paid order was received over HTTP."""

    type: ClassVar[str] = "order.placed"
    order_id: str
    units: int = Field(description="Sum of the quantities of all lines")
    total: int = Field(description="In minor units of the currency")
    currency: str
    created_at: datetime


class OrderUpdated(EventData):
    """The source of an order, or an operator, has changed it."""

    type: ClassVar[str] = "order.updated"
    order_id: str
    revision: int = Field(description="Raised by every change")
    fields: list[str] = Field(description="Names of the changed fields")
    process: Literal["unaffected", "outdated", "needed"] = Field(
        description="outdated: a run under way must begin anew; needed: the same, and without a run one must start"
    )


class OrderCancelled(EventData):
    """The source of an order, or an operator, has cancelled it, or this shop has taken it back."""

    type: ClassVar[str] = "order.cancelled"
    order_id: str
    revision: int = Field(description="That of the order.updated event of the same change, if there is one")
    fulfilled: bool = Field(description="Whether it had been fulfilled already")
    taken_back: bool = Field(False, description="Whether this shop has voided its labels and put its goods back")
    refunded: int = Field(0, description="What this shop has refunded, in minor units of the currency")
    refund_due: int = Field(0, description="What is still to be refunded")


class OrderReturned(EventData):
    """Goods of an order came back; what of them is sellable is in stock again."""

    type: ClassVar[str] = "order.returned"
    order_id: str
    return_id: str
    units: int = Field(description="That came back, on all lines")
    restocked: int = Field(description="Units of inventory items that are in stock again")
    refunded: int = Field(description="What this shop has refunded for them, in minor units of the currency")
    refund_due: int = Field(description="What is still to be refunded")
    currency: str


class OrderFulfilled(EventData):
    """An order was fulfilled: its stock was removed and its shipping labels bought."""

    type: ClassVar[str] = "order.fulfilled"
    order_id: str
    fulfillment_id: str = Field(description="The first of fulfillment_ids")
    fulfillment_ids: list[str] = Field([], description="One per location that the goods come from")
    units: int = Field(description="Sum of the quantities of all lines")
    total: int = Field(description="In minor units of the currency")
    currency: str


class OrderShort(EventData):
    """There was not enough stock for an order; written once per order and day."""

    type: ClassVar[str] = "order.insufficient_inventory"
    order_id: str
    count: int = Field(description="Number of variants without enough stock")
    items: list[InsufficientItem] = Field(description="The first 100 of them")


class CustomerCreated(EventData):
    """A customer registered."""

    type: ClassVar[str] = "customer.created"
    customer_id: str
    created_at: datetime


class CustomerForgotten(EventData):
    """A person was erased on request: forget what you have stored about this customer."""

    type: ClassVar[str] = "customer.forgotten"
    customer_id: str
    forgotten_at: datetime


class CartExpired(EventData):
    """An abandoned cart was deleted."""

    type: ClassVar[str] = "cart.expired"
    cart_id: str
    created_at: datetime


class InventoryUpdated(EventData):
    """Stock at a location was set to the warehouse's level."""

    type: ClassVar[str] = "inventory.updated"
    inventory_item_id: str
    location_id: str
    stocked_quantity: int = Field(description="Units there now")
    change: int = Field(description="Difference to the previous quantity")


EVENTS: tuple[type[EventData], ...] = (
    OrderPlaced,
    OrderUpdated,
    OrderCancelled,
    OrderFulfilled,
    OrderReturned,
    OrderShort,
    CustomerCreated,
    CustomerForgotten,
    CartExpired,
    InventoryUpdated,
)
