"""What events tell: the data of each type, for subscribers and webhooks. Ids, amounts and times; nothing personal."""

from datetime import datetime
from typing import ClassVar

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.orders import InsufficientItem


class Fact(Message):
    """What every event has: the name of its type, without prefix."""

    type: ClassVar[str]


class OrderPlaced(Fact):
    """A paid order came in over HTTP."""

    type: ClassVar[str] = "order.placed"
    order_id: str
    units: int = Field(description="Pieces of all lines together")
    total: int = Field(description="In minor units of the currency")
    currency: str
    created_at: datetime


class OrderFulfilled(Fact):
    """An order was fulfilled: its goods are taken off the shelves, its label is bought."""

    type: ClassVar[str] = "order.fulfilled"
    order_id: str
    fulfillment_id: str
    units: int = Field(description="Pieces of all lines together")
    total: int = Field(description="In minor units of the currency")
    currency: str


class OrderShort(Fact):
    """Stock was too short for an order; told once per order and day."""

    type: ClassVar[str] = "order.insufficient_inventory"
    order_id: str
    count: int = Field(description="Lines that are short")
    items: list[InsufficientItem] = Field(description="The first of them, at most 100")


class CustomerCreated(Fact):
    """A customer registered."""

    type: ClassVar[str] = "customer.created"
    customer_id: str
    created_at: datetime


class CartExpired(Fact):
    """A cart was deleted that nobody had touched for days."""

    type: ClassVar[str] = "cart.expired"
    cart_id: str
    created_at: datetime


class InventoryUpdated(Fact):
    """Stock at a location was set to what the warehouse has."""

    type: ClassVar[str] = "inventory.updated"
    inventory_item_id: str
    location_id: str
    stocked_quantity: int = Field(description="What lies there now")
    change: int = Field(description="The difference to what was there before")


FACTS: tuple[type[Fact], ...] = (
    OrderPlaced,
    OrderFulfilled,
    OrderShort,
    CustomerCreated,
    CartExpired,
    InventoryUpdated,
)
