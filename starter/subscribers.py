"""The subscribers of events: processes that an event starts, and deliveries to webhooks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import OrderNotFound, OrderNotRead, Unreachable
from commerce.messages.base import Message, ProcessInput
from commerce.messages.cancellations import CancelOrder
from commerce.messages.orders import UNLESS_HELD, OrderChange, OrderProcessing, order_process_id
from commerce.pending_events import PendingEvent
from commerce.relay import Relay, Subscribers
from commerce.telemetry.trace_context import continue_trace
from starter.client import start_run
from starter.connection.rpc import unreachable_if_refused
from starter.operate.run_history import get_latest_run, recent_events, status_of, step_outcome
from starter.processes import PROCESS_TYPES

START_TIMEOUT = timedelta(seconds=3)
BY_EVENT = {UNLESS_HELD: True}  # the order may have been put on hold since
ALLOW_AFTER_FAILURE = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY

# Handles one event. It must be idempotent: the relay may publish an event twice.
Subscriber = Callable[[Client, PendingEvent], Awaitable[Any]]


async def process_order(client: Client, event: PendingEvent) -> None:
    """Start the processing of an order that was placed, unless it has been put on hold since.

    Only a person ends a hold, so that it is one who approves what the order is on hold for.
    """
    order = OrderProcessing(order_id=event.data["order_id"])
    is_started = await start_once(client, "order-processing", order, memo=BY_EVENT)
    if not is_started and await _missed_the_order(client, order, event):
        await start_once(client, "order-processing", order, reuse_policy=ALLOW_AFTER_FAILURE, memo=BY_EVENT)


async def process_changed_order(client: Client, event: PendingEvent) -> None:
    """Signal the run of an order that the order has changed. Start one if the order needs one and has none open."""
    order_id, process = event.data["order_id"], event.data["process"]
    signal = ("order-changed", OrderChange(revision=event.data["revision"]))
    process_id = order_process_id(order_id)
    if process == "needed":
        order = OrderProcessing(order_id=order_id)
        await start_run(
            client, "order-processing", order, process_id, rpc_timeout=START_TIMEOUT, signal=signal, memo=BY_EVENT
        )
    elif process == "outdated":
        await _signal_if_open(client, process_id, *signal)


async def offer_cancellation(client: Client, event: PendingEvent) -> None:
    """Offer the admins to take back an order that its shop has cancelled after it was fulfilled here."""
    if event.data["fulfilled"] and not event.data.get("taken_back"):
        await start_once(client, "cancel-order", CancelOrder(order_id=event.data["order_id"], ask=True))


async def deliver_to_webhooks(client: Client, event: PendingEvent) -> None:
    """Start a `deliver-webhook` process for each endpoint that subscribes to this event."""
    await asyncio.gather(*(start_once(client, "deliver-webhook", delivery) for delivery in event.deliveries))


SUBSCRIBERS: Mapping[str, Sequence[Subscriber]] = {
    "order.placed": (process_order,),
    "order.updated": (process_changed_order,),
    "order.cancelled": (offer_cancellation,),
}


def create_relay(
    client: Client, database_url: str, subscribers: Mapping[str, Sequence[Subscriber]] = SUBSCRIBERS, **options: Any
) -> Relay:
    """Return a relay that starts the processes of events and their webhook deliveries. `options` go to `Relay`."""

    async def deliver(event: PendingEvent) -> None:
        with continue_trace(event.traceparent):
            await deliver_to_webhooks(client, event)

    first = Subscribers(subscribers.keys(), process_starter(client, subscribers))
    return Relay(database_url, deliver, first, **options)


def process_starter(
    client: Client, subscribers: Mapping[str, Sequence[Subscriber]] = SUBSCRIBERS
) -> Callable[[PendingEvent], Awaitable[None]]:
    """Return a function that passes an event to all its subscribers.

    It raises the first subscriber's error only after every other subscriber has had the event.
    """

    async def publish(event: PendingEvent) -> None:
        with continue_trace(event.traceparent):
            results = await asyncio.gather(
                *(subscriber(client, event) for subscriber in subscribers.get(event.type, ())), return_exceptions=True
            )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    return publish


async def start_once(
    client: Client,
    kind: str,
    request: ProcessInput,
    *,
    process_id: str | None = None,
    reuse_policy: WorkflowIDReusePolicy = WorkflowIDReusePolicy.REJECT_DUPLICATE,
    memo: Mapping[str, Any] | None = None,
) -> bool:
    """Start a process; return False if its id has a run already. Raises Unreachable.

    Such a run may be our own, started before a crash.
    """
    process_id = PROCESS_TYPES[kind].id_for(request, process_id)
    try:
        await start_run(
            client, kind, request, process_id, reuse_policy=reuse_policy, rpc_timeout=START_TIMEOUT, memo=memo
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


async def _signal_if_open(client: Client, process_id: str, name: str, value: Message) -> None:
    try:
        await client.get_workflow_handle(process_id).signal(name, value, rpc_timeout=START_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:  # there is no open run
            raise Unreachable(f"Temporal could not signal {process_id}: {error.message}") from error


async def _missed_the_order(client: Client, order: OrderProcessing, event: PendingEvent) -> bool:
    """Return whether the latest run of a placed order has ended without having read the order.

    It may have started before the order was stored. Raises OrderNotRead while it is open and has not read the order.
    """
    run = await get_latest_run(client, order_process_id(order.order_id))
    with unreachable_if_refused(f"return the history of {run.id}"):
        outcome = step_outcome(await recent_events(client, run), "validate-order")
    if outcome not in (None, OrderNotFound.__name__):  # done, or failed because of what it read
        return False
    if status_of(run) == "running":
        raise OrderNotRead(run.id)
    return outcome is not None or (event.created_at is not None and run.start_time < event.created_at)
