"""Stock as operators see it."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message


class LevelView(Message):
    """The stock of an item at a location."""

    location: str
    stocked: int
    reserved: int
    available: int
    oversold: bool = Field(description="A count has set the stock below what is reserved")
    counted_at: datetime | None = Field(None, description="The time of its last count")


class StockItem(Message):
    """An inventory item, with its levels in the order in which stock is taken from them."""

    sku: str
    title: str = Field(description="Of a product that needs the item")
    levels: list[LevelView]


class StockPage(Message):
    """A page of a list of items by SKU; `next_cursor` requests the next page, None: there is none."""

    items: list[StockItem]
    next_cursor: str | None = None


class MovementView(Message):
    """A change of the stock at a location. `reference` says what has moved it, such as a fulfillment or a file."""

    id: int
    location: str
    quantity: int
    reason: str
    reference: str
    order_id: str | None = Field(None, description="Whose fulfillment or return has moved it")
    created_at: datetime


class MovementPage(Message):
    """A page of movements, last one first; `next_cursor` requests the next page, None: there is none."""

    movements: list[MovementView]
    next_cursor: int | None = None


class HeldUnits(Message):
    """Units of an item that an order has reserved."""

    order_id: str
    location: str
    quantity: int


class ItemView(StockItem):
    """An item in full: also its last movements, and the first 100 orders that have reserved it."""

    reservations: list[HeldUnits]
    movements: list[MovementView]
