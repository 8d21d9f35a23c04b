"""The subscribers of events: processes that an event starts, and deliveries to webhooks."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from commerce.messages.base import ProcessInput
from commerce.messages.orders import OrderProcessing
from commerce.relay import PendingEvent, Relay, Subscribers
from commerce.telemetry.trace_context import continue_trace
from starter.client import start_run
from starter.operate.run_history import get_latest_run
from starter.processes import PROCESS_TYPES

START_TIMEOUT = timedelta(seconds=3)

# Handles one event. It must be idempotent: the relay may publish an event twice.
Subscriber = Callable[[Client, PendingEvent], Awaitable[Any]]


async def process_order(client: Client, event: PendingEvent) -> None:
    """Start the processing of an order that was placed."""
    order = OrderProcessing(order_id=event.data["order_id"])
    await start_once(client, "order-processing", order, restart_if_failed_before=event.created_at)


async def deliver_to_webhooks(client: Client, event: PendingEvent) -> None:
    """Start a `deliver-webhook` process for each endpoint that subscribes to this event."""
    await asyncio.gather(*(start_once(client, "deliver-webhook", delivery) for delivery in event.deliveries))


SUBSCRIBERS: Mapping[str, Sequence[Subscriber]] = {
    "order.placed": (process_order,),
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
    restart_if_failed_before: datetime | None = None,
) -> None:
    """Start a process unless its id already has a run that Temporal remembers; raises Unreachable.

    Such a run may be our own, started before a crash. A failed run that started before `restart_if_failed_before`
    does not count: it cannot have handled the event.
    """
    process_id = PROCESS_TYPES[kind].id_for(request, process_id)
    if await _try_to_start(client, kind, request, process_id, WorkflowIDReusePolicy.REJECT_DUPLICATE):
        return
    if restart_if_failed_before and (await get_latest_run(client, process_id)).start_time < restart_if_failed_before:
        await _try_to_start(client, kind, request, process_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)


async def _try_to_start(
    client: Client, kind: str, request: ProcessInput, process_id: str, reuse_policy: WorkflowIDReusePolicy
) -> bool:
    """Start a process; return False if the policy does not allow another run of this id."""
    try:
        await start_run(client, kind, request, process_id, reuse_policy=reuse_policy, rpc_timeout=START_TIMEOUT)
    except WorkflowAlreadyStartedError:
        return False
    return True
