"""Every error the shop raises, as one tree; the docstring of a class is its message.

CommerceError
├── PermanentError          trying again can't help: crosses into Temporal non-retryable, with its data
│   ├── BadInput, WrongProcessId, ProcessIdTaken, ProcessNotFound, ProcessFailed
│   ├── ActionRefused
│   │   └── CancelRefused, RetryRefused
│   ├── ScheduleNotFound, JobInProgress
│   ├── OrderRefused
│   │   ├── OrderNotFound, OrderHasNoLines, UnknownVariant, OrderCancelled, PaymentNotCaptured,
│   │   └── FulfilledElsewhere, PartlyFulfilled, OrderOnHold
│   ├── VariantWithoutItems, ItemNotStocked, InsufficientInventory
│   ├── ReservationMissing, QuantityAboveUnfulfilled, FulfillmentMissing
│   ├── CustomerAlreadyExists, RegistrationInProgress
│   ├── StepWithdrawn, StaleGeneration
│   ├── CarrierRefused, AddressIncomplete
│   ├── WarehouseRefused, WarehouseAnswerInvalid, WarehouseIncomplete
│   ├── WebhookExists, WebhookNotFound, WebhookForbidden, EventNotFound
│   └── MailRefused
└── TransientError          trying again may help: plain retry
    ├── StepInProgress
    ├── Unreachable, DatabaseUnavailable
    ├── CarrierUnavailable
    ├── WarehouseUnavailable
    ├── MailUnavailable
    ├── WebhookUnavailable
    └── AlertUnavailable

Messages never hold personal data: they travel into workflow history and logs.
"""

from dataclasses import dataclass, field, fields
from typing import Any, cast

from commerce.messages.base import FieldError
from commerce.messages.orders import InsufficientItem


@dataclass(eq=False)
class CommerceError(Exception):
    """The shop could not do this."""

    def __str__(self) -> str:
        """Fill the class's docstring with the error's own data."""
        return str(type(self).__doc__).format(**self.data())

    def data(self) -> dict[str, Any]:
        """Return the error's fields by name, plain values that survive JSON."""
        return {f.name: getattr(self, f.name) for f in fields(cast(Any, self))}


class PermanentError(CommerceError):
    """Trying again cannot help."""


class TransientError(CommerceError):
    """Trying again may help."""


@dataclass(eq=False)
class BadInput(PermanentError):
    """The input does not fit: {summary}."""

    fields: list[FieldError] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """Name the fields; their values stay out."""
        summary = "; ".join(f"{e.field}: {e.message}" for e in self.fields) or "it is empty"
        return {"fields": self.fields, "summary": summary}


@dataclass(eq=False)
class WrongProcessId(PermanentError):
    """This process may only run under the id {wanted}."""

    wanted: str


@dataclass(eq=False)
class ProcessIdTaken(PermanentError):
    """A process runs under the id {process} already."""

    process: str


@dataclass(eq=False)
class ProcessNotFound(PermanentError):
    """There is no process {process}."""

    process: str


@dataclass(eq=False)
class ProcessFailed(PermanentError):
    """{process} failed: {reason}."""

    process: str
    reason: str


@dataclass(eq=False)
class ActionRefused(PermanentError):
    """{process} is left as it is: {reason}."""

    process: str
    reason: str


class CancelRefused(ActionRefused):
    """{process} is not cancelled: {reason}."""


class RetryRefused(ActionRefused):
    """{process} is not retried: {reason}."""


@dataclass(eq=False)
class ScheduleNotFound(PermanentError):
    """There is no schedule {schedule} (known: {known})."""

    schedule: str
    known: str


@dataclass(eq=False)
class JobInProgress(PermanentError):
    """{job} runs already as {process}."""

    job: str
    process: str


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
    """Order {order_id} has {count} lines whose SKU no variant has, the first is {sku!r}."""

    sku: str
    count: int


class OrderCancelled(OrderRefused):
    """Order {order_id} is cancelled."""


@dataclass(eq=False)
class PaymentNotCaptured(OrderRefused):
    """Order {order_id} is not paid in full: its payment is {payment_status}."""

    payment_status: str


class FulfilledElsewhere(OrderRefused):
    """Order {order_id} was fulfilled outside of this shop."""


class PartlyFulfilled(OrderRefused):
    """Order {order_id} is fulfilled in part; this process fulfills whole orders only."""


class OrderOnHold(OrderRefused):
    """Order {order_id} is on hold until a person starts it."""


@dataclass(eq=False)
class VariantWithoutItems(PermanentError):
    """Variant {variant_id} is stock-managed but has no inventory item."""

    variant_id: str


@dataclass(eq=False)
class ItemNotStocked(PermanentError):
    """Inventory item {inventory_item_id} is not stocked at any location."""

    inventory_item_id: str


@dataclass(eq=False)
class InsufficientInventory(PermanentError):
    """Stock is too short; variants concerned: {count}."""

    items: list[InsufficientItem]
    count: int


@dataclass(eq=False)
class ReservationMissing(PermanentError):
    """Order {order_id} is not reserved in full, so it cannot be fulfilled."""

    order_id: str


@dataclass(eq=False)
class QuantityAboveUnfulfilled(PermanentError):
    """Line {order_line_id} has {unfulfilled} units left to fulfill, {requested} were asked."""

    order_line_id: int
    requested: int
    unfulfilled: int


@dataclass(eq=False)
class FulfillmentMissing(PermanentError):
    """Order {order_id} has no live fulfillment."""

    order_id: str


class CustomerAlreadyExists(PermanentError):
    """This e-mail address has an account already."""


class RegistrationInProgress(PermanentError):
    """This e-mail address is being registered just now."""


@dataclass(eq=False)
class StepWithdrawn(PermanentError):
    """Step {step} was undone before this attempt; it must not happen any more."""

    step: str


@dataclass(eq=False)
class StaleGeneration(PermanentError):
    """A newer run of {business_key} has taken over; this one may not act any more."""

    business_key: str


@dataclass(eq=False)
class CarrierRefused(PermanentError):
    """The carrier refuses: {code} (HTTP {status})."""

    code: str
    status: int


@dataclass(eq=False)
class AddressIncomplete(PermanentError):
    """Order {order_id} cannot be shipped: its address lacks {missing}."""

    order_id: str
    missing: str


@dataclass(eq=False)
class WarehouseRefused(PermanentError):
    """The warehouse refuses the question (HTTP {status})."""

    status: int


@dataclass(eq=False)
class WarehouseIncomplete(PermanentError):
    """The warehouse knows nothing of {missing} of the {asked} SKUs that it was asked for."""

    missing: int
    asked: int


@dataclass(eq=False)
class WarehouseAnswerInvalid(PermanentError):
    """The warehouse's answer is not what its API promises: {field}: {problem}."""

    field: str
    problem: str


class WebhookExists(PermanentError):
    """This URL is a webhook already."""


@dataclass(eq=False)
class WebhookNotFound(PermanentError):
    """There is no webhook {endpoint_id}."""

    endpoint_id: str


class WebhookForbidden(PermanentError):
    """The webhook's host has no address that may be connected to."""


@dataclass(eq=False)
class EventNotFound(PermanentError):
    """There is no event {event_id} any more."""

    event_id: str


@dataclass(eq=False)
class MailRefused(PermanentError):
    """The mail server refuses the mail for good (SMTP {code})."""

    code: int


@dataclass(eq=False)
class StepInProgress(TransientError):
    """Another attempt of step {step} may still be at work."""

    step: str


@dataclass(eq=False)
class Unreachable(TransientError):
    """{reason}."""

    reason: str


@dataclass(eq=False)
class DatabaseUnavailable(TransientError):
    """The database does not answer as it should: {reason}."""

    reason: str


@dataclass(eq=False)
class CarrierUnavailable(TransientError):
    """The carrier does not answer as it should: {reason}."""

    reason: str


@dataclass(eq=False)
class WarehouseUnavailable(TransientError):
    """The warehouse does not answer as it should: {reason}."""

    reason: str


@dataclass(eq=False)
class MailUnavailable(TransientError):
    """The mail server does not take the mail now: {reason}."""

    reason: str


@dataclass(eq=False)
class WebhookUnavailable(TransientError):
    """The webhook's receiver does not take the event now: {reason}."""

    reason: str
    wait: float = 0  # seconds that the receiver asks us to wait; 0: it does not say


@dataclass(eq=False)
class AlertUnavailable(TransientError):
    """The alert webhook does not answer as it should: {reason}."""

    reason: str
