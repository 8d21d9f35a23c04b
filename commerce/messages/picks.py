"""Messages about picks: what the warehouse takes off its shelves for an order. Ids and units, nothing personal."""

from typing import Annotated

from pydantic import Field

from commerce.messages.base import Message, count_of
from commerce.messages.orders import InsufficientItem, OrderRef

STEP = "await-pick"  # it waits for the warehouse
MAX_LINES = 5_000  # of one pick
MAX_UNITS = 2**31 - 1

Sku = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]


class PickRequest(OrderRef):
    """The input of `await-pick`: the order's fulfillments, each of which is one pick."""

    fulfillment_ids: list[str]


class PickLine(Message):
    """Units of a SKU."""

    sku: Sku
    quantity: int = Field(ge=0, le=MAX_UNITS)


class Missing(Message):
    """Units of a SKU that a pick has not found."""

    fulfillment_id: str
    sku: Sku
    quantity: int = Field(ge=1, le=MAX_UNITS)


class Picked(Message):
    """The answer to `await-pick`: what was not found. If nothing is missing, everything was picked."""

    missing: list[Missing] = Field(default=[], max_length=MAX_LINES)


class ShortPick(OrderRef):
    """The input of `record-short-pick`."""

    missing: list[Missing]


class RecordedShortPick(Message):
    """The result of `record-short-pick`.

    `ships`: what was found goes on. `empty`: fulfillments of which nothing is left. `items`: the variants that were
    short, at most 100, and their `count`.
    """

    ships: bool
    missing: int = 0  # units of inventory items that were written off
    empty: list[str] = Field(default=[])
    items: list[InsufficientItem] = Field(default=[])
    count: int = 0

    def summary(self) -> str:
        """Return how many units were written off."""
        return f"{count_of(self.missing, 'unit')} missing, " + ("the rest ships" if self.ships else "nothing ships")
