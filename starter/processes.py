"""Every kind of process: what a caller gives, and the id, title and subject that a run of it has."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from temporalio.common import SearchAttributePair

from commerce.errors import (
    BadInput,
    JobInProgress,
    PermanentError,
    ProcessIdTaken,
    RegistrationInProgress,
    WrongProcessId,
)
from commerce.messages.analytics import Analytics, AnalyticsResult
from commerce.messages.base import FieldError, Message, ProcessInput, field_errors
from commerce.messages.carts import CartsExpired, CleanUpCarts
from commerce.messages.customers import CustomerRegistration, RegistrationResult, registration_process_id
from commerce.messages.jobs import Counts, JobInput
from commerce.messages.orders import OrderProcessing, OrderResult, order_process_id
from commerce.messages.pending_orders import OrdersWorkedOff, PendingOrders
from commerce.messages.stock_sync import StockSynced, SyncInventory
from commerce.messages.tutorial import CountProducts, Greeting, HelloWorld, ProductCount
from commerce.messages.upkeep import Upkeep, UpkeepResult
from commerce.messages.webhooks import Delivered, WebhookDelivery
from starter import registration
from starter.registration import Registration
from workflows.engine.search_attributes import ORDER_ID

TASK_QUEUE = "commerce"
CHOSEN_ID = re.compile(r"[A-Za-z0-9._:-]{1,200}")
NO_ID = "must be 1 to 200 of A-Z a-z 0-9 . _ : - and not begin as the ids of another kind of process do"


async def as_it_is(request: Any) -> Any:
    """Give the process what the caller gave."""
    return request


async def from_the_beginning(request: Any) -> Any:
    """Give a job what the caller gave; only the job itself says where it goes on."""
    if getattr(request, "resume", None) is not None:
        raise BadInput([FieldError(field="resume", message="is set by the job itself when it goes on")])
    return request


async def after_nobody(delivery: Any) -> Any:
    """Give a delivery what the caller gave; only the relay says which one goes before."""
    if delivery.after is not None:
        raise BadInput([FieldError(field="after", message="is set by the relay")])
    return delivery


@dataclass(frozen=True)
class ProcessType:
    """One kind of process; `id`, `title` and `subjects` are made of its prepared input and tell nothing personal."""

    entry: type[Message]
    result: type[Message]
    id: Callable[[Any], str]
    title: Callable[[Any], str]
    subjects: Callable[[Any], list[SearchAttributePair[Any]]] = lambda _: []
    prepare: Callable[[Any], Awaitable[ProcessInput]] = as_it_is
    prepared: type[ProcessInput] | None = None  # what that returns, where it is not the entry
    taken: Callable[[str], PermanentError] | None = None  # raised while one (of this id) runs; None: it is joined
    is_job: bool = False  # its schedule may run it too, under other ids
    any_id: bool = False  # a caller may choose the id of a run

    def read(self, json: str) -> Message:
        """Read what a caller gives; raises BadInput naming the fields that do not fit."""
        try:
            return self.entry.model_validate_json(json)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None

    def id_for(self, prepared: Any, chosen: str | None = None) -> str:
        """Return the id of a run with this prepared input, the chosen one where that may be.

        Raises WrongProcessId where it may not, and BadInput for one that cannot be an id or belongs to another kind.
        """
        own = self.id(prepared)
        if chosen is None or chosen == own:
            return own
        if not self.any_id:
            raise WrongProcessId(own)
        if not CHOSEN_ID.fullmatch(chosen) or self._is_of_another_kind(chosen):
            raise BadInput([FieldError(field="transaction_id", message=NO_ID)])
        return chosen

    def _is_of_another_kind(self, chosen: str) -> bool:
        others = [kind for kind, process in PROCESS_TYPES.items() if process is not self]
        return any(chosen == kind or chosen.startswith(f"{kind}-") for kind in others)


def job(kind: str, entry: type[JobInput], result: type[Counts], title: str) -> ProcessType:
    """Return a kind of job as it is started by hand: under its name, and not while another run of it is open."""
    return ProcessType(
        entry,
        result,
        id=lambda _: kind,
        title=lambda _: title,
        prepare=from_the_beginning,
        taken=lambda process: JobInProgress(kind, process),
        is_job=True,
    )


def tutorial(kind: str, entry: type[ProcessInput], result: type[Message], title: str) -> ProcessType:
    """Return a kind of process that runs under any id, a new one where none is chosen."""
    return ProcessType(
        entry, result, id=lambda _: f"{kind}-{uuid4()}", title=lambda _: title, taken=ProcessIdTaken, any_id=True
    )


PROCESS_TYPES: Mapping[str, ProcessType] = {
    "order-processing": ProcessType(
        OrderProcessing,
        OrderResult,
        id=lambda order: order_process_id(order.order_id),
        title=lambda order: f"Order {order.order_id}",
        subjects=lambda order: [SearchAttributePair(ORDER_ID, order.order_id)],
    ),
    "customer-registration": ProcessType(
        Registration,
        RegistrationResult,
        id=lambda customer: registration_process_id(customer.email),
        title=lambda _: "Registration of a customer",
        prepare=registration.prepare,
        prepared=CustomerRegistration,
        taken=lambda _: RegistrationInProgress(),
    ),
    "cleanup-expired-carts": job("cleanup-expired-carts", CleanUpCarts, CartsExpired, "Delete expired carts"),
    "sync-inventory": job("sync-inventory", SyncInventory, StockSynced, "Bring stock to what the warehouse has"),
    "process-pending-orders": job("process-pending-orders", PendingOrders, OrdersWorkedOff, "Work off pending orders"),
    "collect-analytics-data": job("collect-analytics-data", Analytics, AnalyticsResult, "Count a day and report it"),
    "upkeep": job("upkeep", Upkeep, UpkeepResult, "Throw old records away"),
    "deliver-webhook": ProcessType(
        WebhookDelivery,
        Delivered,
        id=lambda delivery: delivery.process_id,
        title=lambda _: "Deliver an event to a webhook",
        prepare=after_nobody,
    ),
    "hello-world": tutorial("hello-world", HelloWorld, Greeting, "Say hello"),
    "product-count": tutorial("product-count", CountProducts, ProductCount, "Count the products"),
}
