"""What operators do to processes: retry and cancel; what does not make sense is refused with the reason."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta

from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from commerce import operator_actions
from commerce.database import Database
from commerce.errors import CancelRefused, RetryRefused, Unreachable
from commerce.messages.customers import welcome_key
from commerce.messages.operator_actions import Action
from commerce.messages.orders import OrderProcessing, shipped_key
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.run_history import get_latest_run, recent_events, status_of, stuck_reason
from starter.processes import PROCESS_TYPES
from starter.schedules.queries import find_open_run
from starter.telemetry.trace_headers import current_trace_headers
from workflows.engine.search_attributes import CUSTOMER_ID, ORDER_ID

UNLESS_FINE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
EVEN_IF_FINE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE


async def retry(client: Client, database: Database, process_id: str, *, reason: str, actor: str = "") -> str:
    """Start a process again that failed or was cut off, with the same input, and return the id of the new run.

    Its first step undoes what is left of older runs. Two retries of the same run start one, which both return.
    A completed one is run again only for a mail to the customer that was not sent. Raises RetryRefused, JobInProgress,
    BadInput, ProcessNotFound, Unreachable, DatabaseUnavailable.
    """
    found = await get_latest_run(client, process_id)
    action = operator_actions.action(
        process_id=process_id, run_id=found.run_id, action="retry", reason=reason, actor=actor
    )
    await _refuse_if_open(client, found)
    await _refuse_if_fine(database, found)
    beginning = await _beginning(client, found)
    await _record(database, action)
    return await _start_again(client, found, beginning)


async def cancel(
    client: Client,
    database: Database,
    process_id: str,
    *,
    reason: str,
    actor: str = "",
    wait: timedelta | None = None,
) -> str:
    """Ask a process that runs to undo itself, and return the id of its run; `wait`: so long at most until it has ended.

    The reason is kept in our table, Temporal gets the id of that entry. Raises CancelRefused when it has ended,
    BadInput, ProcessNotFound, Unreachable, DatabaseUnavailable.
    """
    found = await get_latest_run(client, process_id)
    action = operator_actions.action(
        process_id=process_id, run_id=found.run_id, action="cancel", reason=reason, actor=actor
    )
    if (status := status_of(found)) != "running":
        raise CancelRefused(process_id, f"it is {status}")
    note = await _record(database, action)
    # A job that goes on as a new run meanwhile is still the same one.
    handle = client.get_workflow_handle(process_id, first_execution_run_id=_first_run(found))
    try:
        await handle.cancel(reason=note, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise CancelRefused(process_id, "it has just ended") from None
        raise Unreachable(f"Temporal does not cancel {process_id}: {error.message}") from error
    if wait is not None:
        await _until_ended(handle, wait)
    return found.run_id


async def _refuse_if_open(client: Client, found: WorkflowExecutionDescription) -> None:
    if status_of(found) == "running":
        with unreachable_if_refused(f"tell of {found.id}"):
            stuck = await stuck_reason(client, found, await recent_events(client, found))
        raise RetryRefused(found.id, f"it runs, but its code fails: {stuck}" if stuck else "it runs")
    process = PROCESS_TYPES.get(found.workflow_type)
    if process and process.is_job and process.taken and (running := await find_open_run(client, found.workflow_type)):
        raise process.taken(running)


async def _refuse_if_fine(database: Database, found: WorkflowExecutionDescription) -> None:
    if status_of(found) != "completed":
        return
    order_id, customer_id = (found.typed_search_attributes.get(subject) for subject in (ORDER_ID, CUSTOMER_ID))
    mail = shipped_key(order_id) if order_id else welcome_key(customer_id) if customer_id else None
    async with database.transaction() as tx:
        if mail is None or not await operator_actions.owed(tx, mail):
            raise RetryRefused(found.id, "it is completed")


async def _beginning(client: Client, found: WorkflowExecutionDescription) -> HistoryEvent:
    """Return the first event of all runs that this one goes on with: it has the input as it was given."""
    first = client.get_workflow_handle(found.id, run_id=_first_run(found))
    try:
        return await anext(first.fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise RetryRefused(found.id, "Temporal no longer knows its input") from None
        raise Unreachable(f"Temporal does not tell how {found.id} began: {error.message}") from error


async def _start_again(client: Client, found: WorkflowExecutionDescription, beginning: HistoryEvent) -> str:
    begun = beginning.workflow_execution_started_event_attributes
    # Not the client's own start: it would give each request an id of its own, and two would start two runs.
    request = StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=found.id,
        workflow_type=begun.workflow_type,
        task_queue=TaskQueue(name=begun.task_queue.name),
        input=Payloads(payloads=await _input(client, begun.workflow_type.name, begun.input.payloads)),
        header=Header(fields=current_trace_headers()),
        search_attributes=begun.search_attributes,
        user_metadata=await _title(client, beginning),
        identity=client.identity,
        request_id=f"retry {found.run_id}",
        workflow_id_reuse_policy=EVEN_IF_FINE if status_of(found) == "completed" else UNLESS_FINE,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    )
    try:
        return (await client.workflow_service.start_workflow_execution(request, retry=True, timeout=RPC_TIMEOUT)).run_id
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:
            raise RetryRefused(found.id, "a newer run has just begun") from None
        raise Unreachable(f"Temporal does not start {found.id}: {error.message}") from error


async def _input(client: Client, kind: str, given: Sequence[Payload]) -> list[Payload]:
    """Return the input as it was given; but who has an order processed again means it, be it on hold or not."""
    if kind != "order-processing":
        return await _as_now(client, *given)
    order: OrderProcessing = (await client.data_converter.decode(given, [OrderProcessing]))[0]
    return await client.data_converter.encode([order.model_copy(update={"unless_held": False})])


async def _title(client: Client, beginning: HistoryEvent) -> UserMetadata | None:
    given = beginning.user_metadata
    return UserMetadata(summary=(await _as_now(client, given.summary))[0]) if given.HasField("summary") else None


async def _as_now(client: Client, *payloads: Payload) -> list[Payload]:
    """Encrypt payloads with the newest key: the one that they were stored with may not be kept for much longer."""
    codec = client.data_converter.payload_codec
    return await codec.encode(await codec.decode(payloads)) if codec else list(payloads)


async def _record(database: Database, action: Action) -> str:
    async with database.transaction() as tx:
        return await operator_actions.record(tx, action)


async def _until_ended(handle: WorkflowHandle[object, object], wait: timedelta) -> None:
    with suppress(TimeoutError, WorkflowFailureError), unreachable_if_refused(f"tell how {handle.id} ends"):
        async with asyncio.timeout(wait.total_seconds()):
            await handle.result()


def _first_run(found: WorkflowExecutionDescription) -> str:
    return found.raw_description.workflow_execution_info.first_run_id
