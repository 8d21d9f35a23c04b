"""Returns as operators and warehouses see them. Amounts are in minor units."""

from datetime import datetime

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.returns import ReturnState


class ReturnLineView(Message):
    """Units of a line that are to come back; `received` and `sellable` are null until they have."""

    line: int = Field(description="Position of the line")
    sku: str
    title: str
    quantity: int
    received: int | None = None
    sellable: int | None = Field(None, description="Of those received, how many are in stock again")


class ReturnView(Message):
    """A return. `open`: its goods are waited for; `received`: they are back, and are being refunded."""

    return_id: str
    order_id: str
    number: str = Field(description="What customers call the order")
    state: ReturnState
    transaction_id: str = Field(description="The process")
    location: str | None = Field(None, description="Where the goods go")
    carrier: str | None = None
    tracking_number: str | None = None
    label_url: str | None = None
    currency: str
    amount: int | None = Field(None, description="What the goods that came back are worth; 0: not refunded here")
    refunded: int = Field(description="What this shop has refunded for them")
    refund_due: int = Field(description="What is still to be refunded")
    refunded_elsewhere: int = Field(description="What the shop of the order has refunded for them")
    created_at: datetime
    received_at: datetime | None = None
    ended_at: datetime | None = None
    lines: list[ReturnLineView]


class ReturnPage(Message):
    """A page of a list of returns, latest first; `next_cursor` requests the next page, None: there is none."""

    returns: list[ReturnView]
    next_cursor: str | None = None
