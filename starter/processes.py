"""Every kind of process: what a caller gives, and the id, title and subject that a run of it has."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError
from temporalio.common import SearchAttributePair

from commerce.errors import BadInput, JobInProgress, PermanentError, RegistrationInProgress
from commerce.messages.analytics import Analytics
from commerce.messages.base import FieldError, Message, ProcessInput, field_errors
from commerce.messages.carts import CleanUpCarts
from commerce.messages.customers import registration_process_id
from commerce.messages.jobs import JobInput
from commerce.messages.orders import OrderProcessing, order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.upkeep import Upkeep
from starter import registration
from starter.registration import Registration
from workflows.visibility import ORDER_ID

TASK_QUEUE = "commerce"


async def as_it_is(request: Any) -> Any:
    """Give the process what the caller gave."""
    return request


async def from_the_beginning(request: Any) -> Any:
    """Give a job what the caller gave; only the job itself says where it goes on."""
    if getattr(request, "resume", None) is not None:
        raise BadInput([FieldError(field="resume", message="is set by the job itself when it goes on")])
    return request


@dataclass(frozen=True)
class Process:
    """One kind of process; `id`, `title` and `subjects` are made of its prepared input and tell nothing personal."""

    entry: type[Message]
    id: Callable[[Any], str]
    title: Callable[[Any], str]
    subjects: Callable[[Any], list[SearchAttributePair[Any]]] = lambda _: []
    prepare: Callable[[Any], Awaitable[ProcessInput]] = as_it_is
    taken: Callable[[str], PermanentError] | None = None  # raised while one (of this id) runs; None: it is joined
    is_job: bool = False  # its schedule may run it too, under other ids

    def read(self, json: str) -> Message:
        """Read what a caller gives; raises BadInput naming the fields that do not fit."""
        try:
            return self.entry.model_validate_json(json)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None


def job(kind: str, entry: type[JobInput], title: str) -> Process:
    """Return a kind of job as it is started by hand: under its name, and not while another run of it is open."""
    return Process(
        entry,
        id=lambda _: kind,
        title=lambda _: title,
        prepare=from_the_beginning,
        taken=lambda process: JobInProgress(kind, process),
        is_job=True,
    )


PROCESSES: Mapping[str, Process] = {
    "order-processing": Process(
        OrderProcessing,
        id=lambda order: order_process_id(order.order_id),
        title=lambda order: f"Order {order.order_id}",
        subjects=lambda order: [SearchAttributePair(ORDER_ID, order.order_id)],
    ),
    "customer-registration": Process(
        Registration,
        id=lambda customer: registration_process_id(customer.email),
        title=lambda _: "Registration of a customer",
        prepare=registration.prepare,
        taken=lambda _: RegistrationInProgress(),
    ),
    "cleanup-expired-carts": job("cleanup-expired-carts", CleanUpCarts, "Delete expired carts"),
    "sync-inventory": job("sync-inventory", SyncInventory, "Bring stock to what the warehouse has"),
    "process-pending-orders": job("process-pending-orders", PendingOrders, "Work off pending orders"),
    "collect-analytics-data": job("collect-analytics-data", Analytics, "Count a day and report it"),
    "upkeep": job("upkeep", Upkeep, "Throw old records away"),
}
