"""Who takes which events: the processes that an event starts, and the deliveries to webhooks that want it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError

from commerce.errors import Unreachable
from commerce.messages.base import ProcessInput
from commerce.messages.orders import OrderProcessing
from commerce.relay import OutboxEvent
from commerce.telemetry.trace_context import going_on_from
from starter.operate.run_history import get_latest_run
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from workflows.engine.search_attributes import SAGA_STATE

START_TIMEOUT = timedelta(seconds=3)

# Returns when it has taken the event, and bears to be given one twice.
Subscriber = Callable[[Client, OutboxEvent], Awaitable[Any]]


async def process_order(client: Client, event: OutboxEvent) -> None:
    """Process an order that was placed."""
    order = OrderProcessing(order_id=event.data["order_id"])
    await start_once(client, "order-processing", order, since=event.created_at)


async def deliver_to_webhooks(client: Client, event: OutboxEvent) -> None:
    """Let a process of its own deliver the event to each webhook that wants it."""
    await asyncio.gather(*(start_once(client, "deliver-webhook", delivery) for delivery in event.deliveries))


SUBSCRIBERS: Mapping[str, Sequence[Subscriber]] = {
    "order.placed": (process_order,),
}


def giving(
    client: Client, subscribers: Mapping[str, Sequence[Subscriber]] = SUBSCRIBERS
) -> Callable[[OutboxEvent], Awaitable[None]]:
    """Return what gives an event to all who want it; when some cannot take it, the others have it all the same."""

    async def give(event: OutboxEvent) -> None:
        takers = (*subscribers.get(event.type, ()), deliver_to_webhooks)
        with going_on_from(event.traceparent):
            answers = await asyncio.gather(*(taker(client, event) for taker in takers), return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException):
                raise answer

    return give


async def start_once(
    client: Client,
    kind: str,
    request: ProcessInput,
    *,
    transaction_id: str | None = None,
    since: datetime | None = None,
) -> None:
    """Start a process, unless one of its id runs or ever ran, as far as Temporal remembers; raises Unreachable.

    `since`: one that failed before this time has not seen to it, and another is started.
    """
    process_id = PROCESS_TYPES[kind].id_for(request, transaction_id)
    if not await _start(client, kind, request, process_id, WorkflowIDReusePolicy.REJECT_DUPLICATE) and since:
        before = await get_latest_run(client, process_id)
        if before.start_time < since:
            await _start(client, kind, request, process_id, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY)


async def _start(
    client: Client, kind: str, request: ProcessInput, process_id: str, reuse: WorkflowIDReusePolicy
) -> bool:
    """Start a process; False: somebody has seen to it already, we ourselves before a crash, maybe."""
    process = PROCESS_TYPES[kind]
    attributes = [*process.subjects(request), SearchAttributePair(SAGA_STATE, "running")]
    try:
        await client.start_workflow(
            kind,
            request,
            id=process_id,
            task_queue=TASK_QUEUE,
            id_reuse_policy=reuse,
            static_summary=process.title(request),
            search_attributes=TypedSearchAttributes(attributes),
            rpc_timeout=START_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return False
    except RPCError as error:
        raise Unreachable(f"Temporal does not start {kind}: {error.message}") from error
    return True
