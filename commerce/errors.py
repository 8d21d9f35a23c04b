"""All errors that the shop raises to its callers, in one tree. The docstring of a class is its message.

CommerceError
├── PermanentError          retrying cannot help: becomes a non-retryable Temporal failure that carries its data
│   ├── BadInput, WrongProcessId, ProcessIdTaken, ProcessNotFound, ProcessFailed
│   ├── ActionRefused
│   │   ├── CancelRefused, RetryRefused, DismissRefused
│   │   └── AlreadyAnswered, WaitOver
│   ├── WaitNotFound, AnsweredWithFailure, Unanswered, LinkInvalid
│   ├── ScheduleNotFound, JobInProgress
│   ├── UnreadableFile, OrderDiffers
│   ├── OrderRefused
│   │   ├── OrderNotFound, OrderHasNoLines, UnknownVariant, OrderCancelled, PaymentNotCaptured,
│   │   ├── FulfilledElsewhere, PartlyFulfilled, OrderRestocked, OrderNotReleased, OrderOnHold,
│   │   ├── OrderChanged, HighRisk, PartlyRefunded, NoShippingMethod
│   │   ├── ParcelHandedOver, ParcelUnknown, LabelNotRefunded, CaptureRefused
│   │   └── OrderHasReturn, OrderNotFulfilled
│   ├── CorrectionRefused, ItemNotFound, ReturnNotFound
│   ├── NotificationNotFound, ResendRefused
│   ├── VariantWithoutItems, ItemNotStocked, InsufficientInventory
│   ├── ReservationMissing, FulfillmentMissing
│   ├── CustomerAlreadyExists, RegistrationInProgress
│   ├── CustomerNotFound, CustomerHasOpenOrders, AddressKeyMissing
│   ├── StepWithdrawn, StepDiffers, StaleGeneration, ResetTooLate, CancelRequested
│   ├── InvalidData, ConstraintViolated
│   ├── CarrierRefused, AddressIncomplete
│   ├── PaymentRefused
│   ├── WarehouseRefused, WarehouseAnswerInvalid, WarehouseIncomplete, PickNotFound
│   ├── WebhookExists, WebhookNotFound, WebhookForbidden, EventNotFound
│   └── MailRefused
├── TransientError          retrying may help; most of them count as a try of their step (`counts`)
│   ├── StepInProgress (not counted), OrderNotRead
│   ├── Unreachable, DatabaseUnavailable (not counted)
│   ├── CarrierUnavailable
│   │   └── CarrierDown (not counted, alerted once)
│   ├── CarrierUnknown (not counted, alerted once)
│   ├── PaymentUnavailable
│   │   └── PaymentsDown (not counted, alerted once)
│   ├── PaymentProviderUnknown (not counted, alerted once)
│   ├── WarehouseUnavailable
│   │   └── WarehouseDown (not counted, alerted once)
│   ├── MailUnavailable
│   │   └── MailServerDown (not counted, alerted once)
│   ├── WebhookUnavailable
│   └── AlertUnavailable
└── SettingsError           an operator must fix the configuration
    └── MissingKey

Messages never hold personal data: they end up in workflow history and logs. The errors of the embedded stack have a
tree of their own in `starter/devstack/errors.py`; an error that is defined anywhere else is private to its package.
One failure type has no class: `CompensationFailed` ends a saga that could not undo a step (workflows/engine/saga.py).
"""

import re
import string
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, cast

from commerce.messages.base import FieldError
from commerce.messages.orders import InsufficientItem

MAX_KEY_ID = 64  # characters


class _MessageFormatter(string.Formatter):
    """Formats a message; `{count:line|lines}` becomes `1 line` or `2 lines`."""

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" not in format_spec:
            return str(super().format_field(value, format_spec))
        singular, plural = format_spec.split("|")
        return f"{value:,} {singular if value == 1 else plural}"


_formatter = _MessageFormatter()


@dataclass(eq=False)
class CommerceError(Exception):
    """The operation failed."""

    def __str__(self) -> str:
        """Return the class's docstring, filled with the error's data."""
        message = _formatter.format(str(type(self).__doc__), **self.data())
        return f"{message[:-2]}." if message.endswith("..") else message  # a reason may end with a full stop, too

    def data(self) -> dict[str, Any]:
        """Return the error's fields by name, as values that survive JSON."""
        return {f.name: getattr(self, f.name) for f in fields(cast(Any, self))}


class PermanentError(CommerceError):
    """The operation failed; retrying cannot help."""


class TransientError(CommerceError):
    """The operation failed; retrying may help.

    An error about the item (this mail, this label) counts as one of the tries that the step's policy allows. An error
    of the infrastructure, which would fail every item alike, does not count: the step waits until it is over.
    """

    counts: ClassVar[bool] = True
    service: ClassVar[str] = ""  # what is down for every item alike; the admins are alerted once per outage

    def for_all(self) -> "TransientError":
        """Return the error to raise when the service answers all items like this."""
        return self


@dataclass(eq=False)
class BadInput(PermanentError):
    """Invalid input: {summary}."""

    fields: list[FieldError] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """Return the invalid fields, and a summary of them without their values."""
        summary = "; ".join(f"{e.field}: {e.message}" for e in self.fields) or "it is empty"
        return {"fields": self.fields, "summary": summary}


@dataclass(eq=False)
class WrongProcessId(PermanentError):
    """The id of this process must be {wanted}."""

    wanted: str


@dataclass(eq=False)
class ProcessIdTaken(PermanentError):
    """A process with the id {process} is already running; choose another id."""

    process: str


@dataclass(eq=False)
class ProcessNotFound(PermanentError):
    """There is no process {process}."""

    process: str


@dataclass(eq=False)
class ProcessFailed(PermanentError):
    """Process {process} failed: {reason}."""

    process: str
    reason: str


@dataclass(eq=False)
class ActionRefused(PermanentError):
    """Process {process} was not changed: {reason}."""

    process: str
    reason: str


@dataclass(eq=False)
class ItemNotFound(PermanentError):
    """No inventory item has the SKU {sku!r}{similar}."""

    sku: str
    similar: str = ""  # the rest of the sentence, such as `; similar: MUG-WHITE`


@dataclass(eq=False)
class NotificationNotFound(PermanentError):
    """There is no mail or alert {key!r}."""

    key: str


@dataclass(eq=False)
class ResendRefused(PermanentError):
    """Mail {key} is not sent again: {reason}."""

    key: str
    reason: str


@dataclass(eq=False)
class CorrectionRefused(PermanentError):
    """Order {order_id} was not changed: {reason}."""

    order_id: str
    reason: str


class CancelRefused(ActionRefused):
    """Cannot cancel {process}: {reason}."""


class RetryRefused(ActionRefused):
    """Cannot retry {process}: {reason}."""


class DismissRefused(ActionRefused):
    """Cannot dismiss {process}: {reason}."""


class AlreadyAnswered(ActionRefused):
    """Cannot answer {process}: {reason}."""


class WaitOver(ActionRefused):
    """Cannot answer {process}: {reason}."""


@dataclass(eq=False)
class WaitNotFound(PermanentError):
    """Process {process} has no such step that waits for an answer."""

    process: str  # and not the step, because a caller can write anything there


@dataclass(eq=False)
class AnsweredWithFailure(PermanentError):
    """Step {step} was answered with failure."""

    step: str


@dataclass(eq=False)
class Unanswered(PermanentError):
    """Step {step} got no answer in time."""

    step: str


class LinkInvalid(PermanentError):
    """This link is not valid, or no longer."""


@dataclass(eq=False)
class ScheduleNotFound(PermanentError):
    """There is no schedule {schedule} (known: {known})."""

    schedule: str
    known: str


@dataclass(eq=False)
class JobInProgress(PermanentError):
    """{job} is already running as {process}; wait until it ends."""

    job: str
    process: str


@dataclass(eq=False)
class UnreadableFile(PermanentError):
    """Cannot import {file}: {reason}."""

    file: str
    reason: str


@dataclass(eq=False)
class OrderDiffers(PermanentError):
    """Order {order_id} already exists with different content."""

    order_id: str
    differing: list[str]  # names of columns only: their values may be personal


@dataclass(eq=False)
class OrderRefused(PermanentError):
    """Order {order_id} cannot be processed."""

    order_id: str


class OrderNotFound(OrderRefused):
    """Order {order_id} does not exist."""


class OrderHasNoLines(OrderRefused):
    """Order {order_id} has no lines."""


@dataclass(eq=False)
class UnknownVariant(OrderRefused):
    """Order {order_id} has {count:line|lines} with an unknown SKU, first {sku!r}; import or link the variants."""

    sku: str
    count: int


class OrderCancelled(OrderRefused):
    """Order {order_id} is cancelled."""


@dataclass(eq=False)
class PaymentNotCaptured(OrderRefused):
    """Order {order_id} is not paid in full: its payment status is {payment_status}."""

    payment_status: str


@dataclass(eq=False)
class CaptureRefused(OrderRefused):
    """The payment of order {order_id} could not be captured: {code}."""

    code: str


class HighRisk(OrderRefused):
    """Order {order_id} may be a fraud, says the shop that it comes from; start it to ship it all the same."""


@dataclass(eq=False)
class PartlyRefunded(OrderRefused):
    """Order {order_id} is partly refunded: {advice}."""

    advice: str


class NoShippingMethod(OrderRefused):
    """Order {order_id} has goods to ship but no shipping method; start it to fulfill it without a label."""


class OrderChanged(OrderRefused):
    """Order {order_id} has changed since its process read it."""


class FulfilledElsewhere(OrderRefused):
    """Order {order_id} was fulfilled outside this shop."""


class PartlyFulfilled(OrderRefused):
    """Order {order_id} is partly fulfilled already; this process fulfills whole orders only."""


class OrderRestocked(OrderRefused):
    """The shop that order {order_id} comes from has put its goods back in stock; it is not shipped."""


class OrderNotReleased(OrderRefused):
    """Order {order_id} is scheduled or on hold in the shop that it comes from; it waits for that shop."""


class OrderOnHold(OrderRefused):
    """Order {order_id} is on hold; an operator must start or retry it."""


class ParcelHandedOver(OrderRefused):
    """The carrier has the parcel of order {order_id}; it is not cancelled."""


class ParcelUnknown(OrderRefused):
    """The carrier does not know whether it has the parcel of order {order_id}; with `force` it is cancelled anyway."""


class LabelNotRefunded(OrderRefused):
    """The carrier has not refunded a label of order {order_id}, as if the parcel were on its way."""


class OrderHasReturn(OrderRefused):
    """Order {order_id} has a return: its goods are with the customer or back, so it cannot be cancelled."""


class OrderNotFulfilled(OrderRefused):
    """Order {order_id} is not fulfilled, so nothing of it can be returned."""


@dataclass(eq=False)
class ReturnNotFound(PermanentError):
    """Return {return_id} does not exist, or was closed."""

    return_id: str


@dataclass(eq=False)
class VariantWithoutItems(PermanentError):
    """Variant {variant_id} has managed inventory but no inventory item; import its stock."""

    variant_id: str


@dataclass(eq=False)
class ItemNotStocked(PermanentError):
    """Inventory item {inventory_item_id} is not stocked at any location; import its stock."""

    inventory_item_id: str


@dataclass(eq=False)
class InsufficientInventory(PermanentError):
    """There is not enough stock of {count:variant|variants}."""

    items: list[InsufficientItem]
    count: int


@dataclass(eq=False)
class ReservationMissing(PermanentError):
    """Order {order_id} cannot be fulfilled: its stock is not fully reserved."""

    order_id: str


@dataclass(eq=False)
class FulfillmentMissing(PermanentError):
    """Order {order_id} has no live fulfillment."""

    order_id: str


class CustomerAlreadyExists(PermanentError):
    """This e-mail address already has an account."""


class RegistrationInProgress(PermanentError):
    """This e-mail address is already being registered; wait until that ends."""


class CustomerNotFound(PermanentError):
    """Nothing is stored about this person."""


@dataclass(eq=False)
class CustomerHasOpenOrders(PermanentError):
    """The customer cannot be forgotten: {count:order is|orders are} open, first {first}; end them first."""

    orders: list[str]  # the first of them
    count: int

    def data(self) -> dict[str, Any]:
        """Return the ids of the first open orders, and how many there are."""
        return {"orders": self.orders, "count": self.count, "first": self.orders[0] if self.orders else ""}


class AddressKeyMissing(PermanentError):
    """Nobody can be forgotten without COMMERCE_ADDRESS_KEYS: the next import would bring them back."""


@dataclass(eq=False)
class StepWithdrawn(PermanentError):
    """Step {step} was undone before this attempt; it must not run any more."""

    step: str


@dataclass(eq=False)
class StepDiffers(PermanentError):
    """Step {step} was done by a worker that was lost, but for another input."""

    step: str


@dataclass(eq=False)
class CancelRequested(PermanentError):
    """A cancel was requested before step {step} ran."""

    step: str


@dataclass(eq=False)
class StaleGeneration(PermanentError):
    """A newer run of {business_key} has taken over, or this one undoes its steps; it must not act any more."""

    business_key: str


class ResetTooLate(PermanentError):
    """The run was reset too late, after its first step: use "Start Workflow Like This One" or `commerce runs retry`."""


@dataclass(eq=False)
class InvalidData(PermanentError):
    """The database cannot store or compute a value: {reason}."""

    reason: str


@dataclass(eq=False)
class ConstraintViolated(PermanentError):
    """A constraint of the database forbids the change: {reason}."""

    reason: str


@dataclass(eq=False)
class CarrierRefused(PermanentError):
    """The carrier refused the request: {code} (HTTP {status})."""

    code: str
    status: int


@dataclass(eq=False)
class AddressIncomplete(PermanentError):
    """Order {order_id} cannot be shipped: its address has no {missing}."""

    order_id: str
    missing: str


@dataclass(eq=False)
class PaymentRefused(PermanentError):
    """The payment provider refused the request: {code} (HTTP {status})."""

    code: str
    status: int


@dataclass(eq=False)
class PickNotFound(PermanentError):
    """There is no pick {pick_id}."""

    pick_id: str


@dataclass(eq=False)
class WarehouseRefused(PermanentError):
    """The warehouse refused the request (HTTP {status})."""

    status: int


@dataclass(eq=False)
class WarehouseIncomplete(PermanentError):
    """The warehouse does not know {missing} of {asked:requested SKU|requested SKUs}."""

    missing: int
    asked: int


@dataclass(eq=False)
class WarehouseAnswerInvalid(PermanentError):
    """The warehouse's answer violates its API: {field}: {problem}."""

    field: str
    problem: str


class WebhookExists(PermanentError):
    """A webhook with this URL already exists."""


@dataclass(eq=False)
class WebhookNotFound(PermanentError):
    """There is no webhook {endpoint_id}."""

    endpoint_id: str


class WebhookForbidden(PermanentError):
    """The webhook's host has no public address (COMMERCE_WEBHOOK_PRIVATE=allow permits private ones)."""


@dataclass(eq=False)
class EventNotFound(PermanentError):
    """Event {event_id} no longer exists."""

    event_id: str


@dataclass(eq=False)
class MailRefused(PermanentError):
    """The mail server permanently refused the mail (SMTP {code})."""

    code: int


@dataclass(eq=False)
class StepInProgress(TransientError):
    """Another attempt of step {step} may still be running."""

    step: str
    counts: ClassVar[bool] = False


@dataclass(eq=False)
class OrderNotRead(TransientError):
    """The event must wait: the open run of {process} has not read the order yet."""

    process: str


@dataclass(eq=False)
class Unreachable(TransientError):
    """{reason}."""

    reason: str


@dataclass(eq=False)
class DatabaseUnavailable(TransientError):
    """The database is unavailable: {reason}."""

    reason: str
    counts: ClassVar[bool] = False  # no service: an alert would need the database


@dataclass(eq=False)
class CarrierUnavailable(TransientError):
    """The carrier is unavailable: {reason}."""

    reason: str

    def for_all(self) -> "CarrierDown":
        """Return the error that says so of all shipments."""
        return CarrierDown(self.reason)


@dataclass(eq=False)
class CarrierDown(CarrierUnavailable):
    """The carrier is unavailable for all shipments: {reason}."""

    status: int = 0  # of the response; 0: there was none
    counts: ClassVar[bool] = False
    service: ClassVar[str] = "carrier"


@dataclass(eq=False)
class CarrierUnknown(TransientError):
    """The shipment is at the carrier {carrier!r}, which is missing in commerce/integrations/carriers.py."""

    carrier: str
    counts: ClassVar[bool] = False
    service: ClassVar[str] = "carrier"


@dataclass(eq=False)
class PaymentUnavailable(TransientError):
    """The payment provider is unavailable: {reason}."""

    reason: str

    def for_all(self) -> "PaymentsDown":
        """Return the error that says so of all payments."""
        return PaymentsDown(self.reason)


@dataclass(eq=False)
class PaymentsDown(PaymentUnavailable):
    """The payment provider is unavailable for all payments: {reason}."""

    status: int = 0  # of the response; 0: there was none
    counts: ClassVar[bool] = False
    service: ClassVar[str] = "payment provider"


@dataclass(eq=False)
class PaymentProviderUnknown(TransientError):
    """The refund was planned at the payment provider {provider!r}, which COMMERCE_PAYMENTS does not name."""

    provider: str
    counts: ClassVar[bool] = False
    service: ClassVar[str] = "payment provider"


@dataclass(eq=False)
class WarehouseUnavailable(TransientError):
    """The warehouse is unavailable: {reason}."""

    reason: str

    def for_all(self) -> "WarehouseDown":
        """Return the error that says so of all picks."""
        return WarehouseDown(self.reason)


@dataclass(eq=False)
class WarehouseDown(WarehouseUnavailable):
    """The warehouse is unavailable for all picks: {reason}."""

    counts: ClassVar[bool] = False
    service: ClassVar[str] = "warehouse"


@dataclass(eq=False)
class MailUnavailable(TransientError):
    """The mail server is unavailable: {reason}."""

    reason: str


@dataclass(eq=False)
class MailServerDown(MailUnavailable):
    """The mail server is unavailable for all mails: {reason}."""

    code: int = 0  # the SMTP reply; 0: there was none
    counts: ClassVar[bool] = False
    service: ClassVar[str] = "mail server"


@dataclass(eq=False)
class WebhookUnavailable(TransientError):
    """The webhook's receiver is unavailable: {reason}."""

    reason: str
    wait: float = 0  # seconds that the receiver asks us to wait; 0: it does not say


@dataclass(eq=False)
class AlertUnavailable(TransientError):
    """The alert webhook is unavailable: {reason}."""

    reason: str


@dataclass(eq=False)
class SettingsError(CommerceError):
    """{problem}"""  # one line that starts with the name of the variable

    problem: str


class MissingKey(SettingsError):
    """{problem}"""

    def __init__(self, key_id: str) -> None:
        """Name the key by the id in the payload, without characters that only a forged payload would have."""
        shown = re.sub(r"[^\w.:-]", "?", key_id[:MAX_KEY_ID], flags=re.ASCII)
        super().__init__(f"Encryption key {shown} is missing: add it to COMMERCE_ENCRYPTION_KEYS")
