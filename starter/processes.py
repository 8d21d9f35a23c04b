"""The table of process types: what each accepts and returns, and the id, title and search attributes of its runs."""

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from pydantic import ValidationError
from temporalio.common import Priority, SearchAttributePair

from commerce.address_digests import NO_DIGESTS, AddressDigests
from commerce.errors import (
    BadInput,
    JobInProgress,
    PermanentError,
    ProcessIdTaken,
    RegistrationInProgress,
    WrongProcessId,
)
from commerce.messages.analytics import Analytics, AnalyticsResult
from commerce.messages.base import FieldError, Message, Nothing, ProcessInput, field_errors
from commerce.messages.cancellations import CancelOrder, CancelResult, cancel_process_id
from commerce.messages.carts import CartsExpired, CleanUpCarts
from commerce.messages.customers import REGISTRATION_ID_PREFIX, CustomerRegistration, RegistrationResult, request_tag
from commerce.messages.forgetting import FORGET_ID_PREFIX, ForgetCustomer, Forgotten
from commerce.messages.jobs import Counts, JobInput
from commerce.messages.orders import OrderProcessing, OrderResult, order_process_id
from commerce.messages.payments import NotedRefund
from commerce.messages.pending_orders import PendingOrders, PendingOrdersResult
from commerce.messages.picks import Picked
from commerce.messages.returns import ReturnOrder, ReturnReceipt, ReturnResult, return_process_id
from commerce.messages.stock_sync import StockSynced, SyncInventory
from commerce.messages.tutorial import CountProducts, Greeting, HelloWorld, ProductCount
from commerce.messages.upkeep import Upkeep, UpkeepResult
from commerce.messages.waits import AnswerKind
from commerce.messages.webhooks import Delivered, WebhookDelivery
from starter.entries import (
    Registration,
    unchanged,
    with_normal_address,
    with_password_hash,
    with_return_id,
    without_after,
    without_future_date,
    without_resume,
)
from workflows.engine.search_attributes import ORDER_ID

TASK_QUEUE = "commerce"
VALID_ID = re.compile(r"[A-Za-z0-9._:~-]{1,200}")
INVALID_ID = (
    "must have 1 to 200 characters out of A-Z a-z 0-9 . _ : ~ - "
    "and must not start with the name of another process type"
)


@dataclass(frozen=True)
class Question:
    """What a step asks that waits for an answer.

    `answer`: the data of `success`. `text`, with the place `{process}`, and `words`: how a page asks it of a person.
    """

    answer: type[Message]
    text: str
    words: Mapping[AnswerKind, str]
    asks_password: bool = False  # the link proves an address, and the password says of which registration


@dataclass(frozen=True)
class ProcessType:
    """One process type.

    Callers send an `entry`; `prepare` turns it into the workflow's input. `id`, `title` and `search_attributes` are
    derived from that input and hold no personal data. If the process is about an e-mail address, its id is `id`
    followed by a digest of the `address`. If that must be proven first, each request has a process of its own, whose id
    ends with its `tag`.
    """

    entry: type[Message]
    result: type[Message]
    id: Callable[[Any], str]
    title: Callable[[Any], str]
    search_attributes: Callable[[Any], list[SearchAttributePair[Any]]] = lambda _: []
    prepare: Callable[[Any], Awaitable[ProcessInput]] = unchanged
    input: type[ProcessInput] | None = None  # the type that `prepare` returns; None: the entry
    in_progress_error: Callable[[str], PermanentError] | None = None  # raised if the id has an open run; None: join it
    is_job: bool = False  # its schedule starts it too, under other ids
    accepts_any_id: bool = False
    address: Callable[[Any], str] | None = None
    tag: Callable[[Any], str] | None = None
    signal: Callable[[Any], tuple[str, Message]] | None = None  # what an open run gets when it is started again
    questions: Mapping[str, Question] = field(default_factory=dict)  # by step that waits
    priority: Priority = Priority.default  # of its tasks among those that wait for a worker; 1 comes first, 3 is usual

    def parse(self, json: str) -> Message:
        """Parse a caller's input; raises BadInput naming the invalid fields."""
        try:
            return self.entry.model_validate_json(json)
        except ValidationError as error:
            raise BadInput(field_errors(error)) from None

    def ids_for(
        self, prepared: Any, digests: AddressDigests = NO_DIGESTS, *, confirms_addresses: bool = False
    ) -> list[str]:
        """Return the process ids that a run with this prepared input may have: that of a new run first."""
        if self.address is None:
            return [self.id(prepared)]
        known = digests.process_ids(self.id(prepared), self.address(prepared))
        return [f"{known[0]}-{self.tag(prepared)}"] if self.tag and confirms_addresses else known

    def id_for(
        self,
        prepared: Any,
        chosen: str | None = None,
        digests: AddressDigests = NO_DIGESTS,
        *,
        confirms_addresses: bool = False,
    ) -> str:
        """Return the process id for this prepared input: the caller's choice if this process type accepts any id.

        `confirms_addresses`: whether a registration waits until its address is proven. Raises WrongProcessId if a
        choice is not accepted, and BadInput if the chosen id is malformed or belongs to another type.
        """
        derived, *_ = known = self.ids_for(prepared, digests, confirms_addresses=confirms_addresses)
        if chosen is None or chosen in known:
            return derived
        if not self.accepts_any_id:
            raise WrongProcessId(derived)
        if not VALID_ID.fullmatch(chosen) or self._belongs_to_another_type(chosen):
            raise BadInput([FieldError(field="transaction_id", message=INVALID_ID)])
        return chosen

    def _belongs_to_another_type(self, chosen: str) -> bool:
        others = [kind for kind, process_type in PROCESS_TYPES.items() if process_type is not self]
        return any(chosen == kind or chosen.startswith(f"{kind}-") for kind in others)


def job_type(
    kind: str,
    entry: type[JobInput],
    result: type[Counts],
    title: str,
    prepare: Callable[[Any], Awaitable[ProcessInput]] = without_resume,
) -> ProcessType:
    """Return the process type of a job: started by hand, its id is its name; it is refused while it runs."""
    return ProcessType(
        entry,
        result,
        id=lambda _: kind,
        title=lambda _: title,
        prepare=prepare,
        in_progress_error=lambda process_id: JobInProgress(kind, process_id),
        is_job=True,
    )


def tutorial_type(kind: str, entry: type[ProcessInput], result: type[Message], title: str) -> ProcessType:
    """Return a process type that accepts any id, and makes a new one if the caller chooses none."""
    return ProcessType(
        entry,
        result,
        id=lambda _: f"{kind}-{uuid4()}",
        title=lambda _: title,
        in_progress_error=ProcessIdTaken,
        accepts_any_id=True,
    )


REFUND_AT_SHOP = Question(
    NotedRefund,
    "Is the payment of the process {process} refunded at the shop?",
    {"success": "It is refunded", "failure": "It will not be refunded"},
)
PROCESS_TYPES: Mapping[str, ProcessType] = {
    "order-processing": ProcessType(
        OrderProcessing,
        OrderResult,
        id=lambda order: order_process_id(order.order_id),
        title=lambda order: f"Order {order.order_id}",
        search_attributes=lambda order: [SearchAttributePair(ORDER_ID, order.order_id)],
        questions={
            "review-order": Question(
                Nothing,
                "May the order of the process {process} be fulfilled?",
                {"success": "Approve the order", "failure": "Reject the order"},
            ),
            "await-pick": Question(
                Picked,
                "Has the warehouse picked everything for the order of the process {process}?",
                {"success": "Everything is picked", "failure": "Undo the order", "retry": "Ask the warehouse again"},
            ),
        },
    ),
    "cancel-order": ProcessType(
        CancelOrder,
        CancelResult,
        id=lambda order: cancel_process_id(order.order_id),
        title=lambda order: f"Cancel order {order.order_id}",
        search_attributes=lambda order: [SearchAttributePair(ORDER_ID, order.order_id)],
        signal=lambda order: ("start-again", order),
        questions={
            "offer-cancellation": Question(
                Nothing,
                "Take back the order of the process {process}, void its labels and put its goods back?",
                {"success": "Take the order back", "failure": "Leave it as it is"},
            ),
            "refund-at-shop": REFUND_AT_SHOP,
        },
    ),
    "return-order": ProcessType(
        ReturnOrder,
        ReturnResult,
        id=lambda order: return_process_id(order.return_id),
        title=lambda order: f"Return of order {order.order_id}",
        search_attributes=lambda order: [SearchAttributePair(ORDER_ID, order.order_id)],
        prepare=with_return_id,
        input=ReturnOrder,
        questions={
            "await-return": Question(
                ReturnReceipt,
                "Are the goods of the process {process} back?",
                {"failure": "They will not come back"},
            ),
            "refund-at-shop": REFUND_AT_SHOP,
        },
    ),
    "customer-registration": ProcessType(
        Registration,
        RegistrationResult,
        id=lambda _: REGISTRATION_ID_PREFIX,
        address=lambda customer: customer.email,
        tag=lambda customer: request_tag(customer.password_hash),
        title=lambda _: "Customer registration",
        prepare=with_password_hash,
        input=CustomerRegistration,
        in_progress_error=lambda _: RegistrationInProgress(),
        questions={
            "confirm-address": Question(
                Nothing,
                "Enter the password that you have chosen. If you have not registered, close this page.",
                {"success": "Confirm my address"},
                asks_password=True,
            )
        },
    ),
    "forget-customer": ProcessType(
        ForgetCustomer,
        Forgotten,
        id=lambda _: FORGET_ID_PREFIX,
        address=lambda person: person.email,
        title=lambda _: "Forget a customer",
        prepare=with_normal_address,
    ),
    "cleanup-expired-carts": job_type("cleanup-expired-carts", CleanUpCarts, CartsExpired, "Delete expired carts"),
    "sync-inventory": job_type("sync-inventory", SyncInventory, StockSynced, "Sync stock with the warehouse"),
    "process-pending-orders": job_type(
        "process-pending-orders", PendingOrders, PendingOrdersResult, "Process pending orders"
    ),
    "collect-analytics-data": job_type(
        "collect-analytics-data", Analytics, AnalyticsResult, "Compute a day's metrics", prepare=without_future_date
    ),
    "upkeep": job_type("upkeep", Upkeep, UpkeepResult, "Delete old records"),
    "deliver-webhook": ProcessType(
        WebhookDelivery,
        Delivered,
        id=lambda delivery: delivery.process_id,
        title=lambda _: "Deliver an event to a webhook",
        prepare=without_after,
        priority=Priority(priority_key=5),  # a stock sync makes thousands: no order may wait behind them
    ),
    "hello-world": tutorial_type("hello-world", HelloWorld, Greeting, "Say hello"),
    "product-count": tutorial_type("product-count", CountProducts, ProductCount, "Count the products"),
}
