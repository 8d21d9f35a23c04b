"""Messages of `return-order` and its steps: ids, amounts and short texts, no personal data."""

import re
from typing import Annotated, Literal

from pydantic import Field, model_validator

from commerce.messages.base import FieldError, Message, ProcessInput, count_of
from commerce.messages.orders import OrderId
from commerce.messages.steps import BeginResult

PROCESS_ID_PREFIX = "return-order-"
AWAIT = "await-return"  # the step that waits until the goods are back
MAX_ITEMS = 1_000
POSITION = re.compile(r"#[0-9]{1,9}")
MAX_UNITS = 2**31 - 1
MAX_SKU = 500  # characters

ReturnId = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
ReturnState = Literal["open", "received", "completed", "closed"]


def return_process_id(return_id: str) -> str:
    """Return the process id of a return."""
    return f"{PROCESS_ID_PREFIX}{return_id}"


def return_id_of(process_id: str) -> str | None:
    """Return the id of the return that a process is about, or None if it is about none."""
    return process_id.removeprefix(PROCESS_ID_PREFIX) or None if process_id.startswith(PROCESS_ID_PREFIX) else None


def returned_key(return_id: str) -> str:
    """Return the key of the mail that notifies the customer that the goods are back."""
    return f"order-returned/{return_id}"


def closed_key(return_id: str, generation: str) -> str:
    """Return the key of the mail that a return is closed, because the goods are not back."""
    return f"return-closed/{return_id}/{generation}"


class Item(Message):
    """Units of a line of the order, which is named by its position or by its SKU.

    A SKU means all lines that have it, in their order.
    """

    line: int | None = Field(None, ge=1, le=MAX_UNITS, description="Position of the line")
    sku: str | None = Field(None, min_length=1, max_length=MAX_SKU)
    quantity: int = Field(ge=1, le=MAX_UNITS)

    @model_validator(mode="after")
    def _names_a_line(self) -> "Item":
        if (self.line is None) == (self.sku is None):
            raise ValueError("must have either a line or a sku")
        return self


def line_named(name: str) -> dict[str, str]:
    """Return the field of an Item for a line that a person has named: by its SKU, or by its position, like `#1`."""
    return {"line": name[1:]} if POSITION.fullmatch(name) else {"sku": name}


class ReceivedItem(Item):
    """Units that came back. `sellable`: how many of them go back on the shelf; None: all."""

    sellable: int | None = Field(None, ge=0, le=MAX_UNITS)

    @model_validator(mode="after")
    def _has_no_more_sellable_units(self) -> "ReceivedItem":
        if self.sellable is not None and self.sellable > self.quantity:
            raise ValueError("sellable must be at most quantity")
        return self


class ReturnReceipt(Message):
    """The answer to `await-return`: what came back. What is not listed did not.

    `everything`, instead of items: all of it came back, and is sellable.
    """

    items: list[ReceivedItem] = Field(default=[], max_length=MAX_ITEMS)
    everything: bool = False

    @model_validator(mode="after")
    def _says_what_came_back(self) -> "ReturnReceipt":
        if bool(self.items) == self.everything:
            raise ValueError("must have either items or everything")
        return self


class ReturnOrder(ProcessInput):
    """The input of `return-order`.

    `items`: what comes back; empty: all units that are not returned yet. `return_id` is part of the process id; None:
    whoever starts the process chooses one. `label`: whether to buy a label; only goods that were sent with one get one.
    `refund`: whether the goods are refunded here. `refund_shipping`: whether the shipping costs are, too, once per
    order.
    """

    order_id: OrderId
    return_id: ReturnId | None = None
    items: list[Item] = Field(default=[], max_length=MAX_ITEMS)
    label: bool = True
    refund: bool = True
    refund_shipping: bool = False


class ReturnRef(Message):
    """The input of most steps: a return and its order."""

    order_id: str
    return_id: str


class NewReturn(ReturnRef):
    """The input of `register-return`, as `ReturnOrder` has it."""

    items: list[Item]
    label: bool
    refund: bool
    refund_shipping: bool


class BegunReturn(BeginResult):
    """The result of `begin-return`. `received`: the goods are back already, and an earlier run has ended since."""

    received: bool = False


class RegisteredReturn(Message):
    """The result of `register-return`. `days`: how long the process waits for the goods."""

    units: int
    needs_label: bool
    days: float

    def summary(self) -> str:
        """Return the number of units."""
        return f"{count_of(self.units, 'unit')} to come back"


class CheckedReceipt(ReturnRef):
    """The input of `check-receipt`."""

    receipt: ReturnReceipt


class ReceiptProblems(Message):
    """The result of `check-receipt`: what is wrong with a receipt; empty if it can be right."""

    problems: list[FieldError] = Field(default=[])

    def summary(self) -> str:
        """Return what is wrong."""
        return "; ".join(f"{problem.field}: {problem.message}" for problem in self.problems[:3])


class ReceivedUnits(ReturnRef):
    """The input of `receive-return`. `receipt`: None if an earlier run has received the goods."""

    receipt: ReturnReceipt | None = None


class ReceivedReturn(Message):
    """The result of `receive-return`: units that came back, and units of inventory items that are on a shelf again."""

    units: int
    restocked: int
    refund: bool

    def summary(self) -> str:
        """Return the numbers of units."""
        return f"{count_of(self.units, 'unit')} back, {self.restocked:,} restocked"


class CompletedReturn(Message):
    """The result of `complete-return`: what became of the payment. Amounts are in minor units."""

    refunded: int = 0
    refund_due: int = 0
    currency: str = ""
    has_email: bool = False


class ReturnResult(Message):
    """The result of `return-order`. Amounts are in minor units.

    `refund_due`: the goods are back, but a person has to see to the refund. `not_returned`: they did not come back in
    time. `refused`: somebody has answered that they will not come back.
    """

    order_id: str
    return_id: str
    status: Literal["returned", "refund_due", "not_returned", "refused"]
    units: int = 0
    restocked: int = 0
    refunded: int = 0
    refund_due: int = 0
    currency: str = ""
    notification_sent: bool = False
