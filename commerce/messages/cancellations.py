"""Messages of `cancel-order` and its steps: ids, amounts and short texts, no personal data."""

from typing import Literal

from pydantic import Field

from commerce.messages.base import Message, ProcessInput, count_of
from commerce.messages.orders import OrderId, order_process_id
from commerce.messages.steps import BeginResult, Leftover

PURPOSE = "cancel-order"  # of its refund


def cancel_process_id(order_id: str) -> str:
    """Return the process id of the cancellation of an order."""
    return f"cancel-order-{order_id}"


def processes_of(order_id: str) -> list[str]:
    """Return the ids of all processes that an order can have."""
    return [order_process_id(order_id), cancel_process_id(order_id)]


def cancelled_key(order_id: str) -> str:
    """Return the key of the mail that notifies the customer of the cancellation."""
    return f"order-cancelled/{order_id}"


class CancelOrder(ProcessInput):
    """The input of `cancel-order`.

    `force`: do not ask the carrier whether it has the parcel, do not wait until it has refunded the label, and continue
    if it refuses to. `ask`: first wait until a person has agreed.
    """

    order_id: OrderId
    force: bool = False
    ask: bool = False


class OrderToCancel(Message):
    """The input of the steps that need nothing else."""

    order_id: str


class BegunCancellation(BeginResult):
    """The result of `begin-cancellation`."""


class BoughtLabel(Message):
    """A label of a live fulfillment, and the name of the carrier that sold it; None: that is not known any more."""

    shipment_id: str
    carrier: str | None = None


class MarkedOrder(Message):
    """The result of `mark-cancelling`: what is to be taken back.

    `steps`: those of `order-processing` that are not undone, newest first, as the ledger has recorded them. `revision`
    is that of the order now.
    """

    revision: int
    labels: list[BoughtLabel] = Field(default=[])
    steps: list[Leftover] = Field(default=[])

    def summary(self) -> str:
        """Return the number of labels and steps."""
        return f"{count_of(len(self.labels), 'label')}, {count_of(len(self.steps), 'step')} to take back"


class Parcels(OrderToCancel):
    """The input of `check-parcels`."""

    labels: list[BoughtLabel]


class LabelToVoid(OrderToCancel):
    """The input of `void-label`."""

    label: BoughtLabel


class VoidedLabel(Message):
    """The result of `void-label`. Until the carrier says that it has refunded the label, its refund is `requested`."""

    refund: Literal["requested", "made", "none"]

    def summary(self) -> str:
        """Return what became of the label."""
        return {"requested": "refund requested", "made": "refunded", "none": "no label"}[self.refund]


class Restocked(Message):
    """The result of `restock-order`: units that this step itself has put back, because no record of a step was left."""

    units: int


class KeptOrder(Message):
    """The result of `keep-order`. It is not kept if something was taken back already."""

    kept: bool

    def summary(self) -> str:
        """Return whether the order is as it was."""
        return "kept" if self.kept else "partly taken back"


class CancelledOrder(Message):
    """The result of `complete-cancellation`: what became of the payment. Amounts are in minor units."""

    refunded: int = 0
    refund_due: int = 0
    currency: str = ""
    has_email: bool = False


class CancelResult(Message):
    """The result of `cancel-order`. Amounts are in minor units.

    `refund_due`: the order is cancelled, but a person has to see to its refund. `kept`: a person was asked and did not
    agree, or did not answer; nothing has changed.
    """

    order_id: str
    status: Literal["cancelled", "refund_due", "kept"]
    labels_voided: int = 0
    refunded: int = 0
    refund_due: int = 0
    currency: str = ""
    notification_sent: bool = False
