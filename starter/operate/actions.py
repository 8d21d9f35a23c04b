"""What operators do to processes: retry and cancel. Actions that make no sense are refused with the reason."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import Header, Payload, Payloads
from temporalio.api.enums.v1 import WorkflowIdConflictPolicy, WorkflowIdReusePolicy
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.sdk.v1 import UserMetadata
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import StartWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowFailureError, WorkflowHandle
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.boundary.failures import cause
from commerce import operator_actions, payments
from commerce.database import Database
from commerce.errors import BadInput, CancelRefused, DismissRefused, RetryRefused, Unreachable
from commerce.messages.base import FieldError
from commerce.messages.cancellations import PURPOSE, CancelOrder, cancel_process_id, cancelled_key
from commerce.messages.customers import welcome_key
from commerce.messages.operator_actions import Action
from commerce.messages.orders import OrderProcessing, shipped_key
from commerce.messages.payments import RefundRequest
from commerce.messages.returns import PROCESS_ID_PREFIX, returned_key
from starter.client import check_job_is_idle, start
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.run_history import (
    REPORTED_PROBLEMS,
    first_run_id,
    get_latest_run,
    recent_events,
    start_event,
    status_of,
    stuck_reason,
)
from starter.processes import PROCESS_TYPES, ProcessType
from starter.telemetry.trace_headers import current_trace_headers
from workflows.engine.search_attributes import CUSTOMER_ID, ORDER_ID, OUTCOME

FAILED = ("failed", "timed_out", "terminated")
REFUND_DUE = "refund_due"  # the outcome of a cancelled order whose refund may succeed now
STUCK_INTERVAL = 2  # seconds between two checks whether the code of a cancelled process fails
ALLOW_AFTER_FAILURE = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
ALLOW_ALWAYS = WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE


async def retry(client: Client, database: Database, process_id: str, *, reason: str, actor: str = "") -> str:
    """Start a failed or interrupted process again with the same input, and return the id of the new run.

    The new run's first step undoes the leftovers of older runs. Two retries of the same run start one new run, and
    both return its id. A completed process is retried only if a mail to its customer was not sent. Raises
    RetryRefused, JobInProgress, BadInput, ProcessNotFound, Unreachable, DatabaseUnavailable.
    """
    run = await get_latest_run(client, process_id)
    action = operator_actions.validate_action(
        process_id=process_id, run_id=run.run_id, action="retry", reason=reason, actor=actor
    )
    await _refuse_if_running(client, run)
    await _refuse_if_completed(database, run)
    started = await _start_event(client, run)
    request = await _start_request(client, run, started)
    await _record(database, action)
    return await _start_again(client, request)


async def cancel(
    client: Client,
    database: Database,
    process_id: str,
    *,
    reason: str,
    actor: str = "",
    wait: timedelta | None = None,
) -> str:
    """Request cancellation of a running process, which then undoes itself, and return the id of its run.

    `wait` is how long to wait for the process to end. The reason is stored in our database; Temporal gets the id of
    that record only. Raises CancelRefused if the process has ended, BadInput, ProcessNotFound, Unreachable,
    DatabaseUnavailable.
    """
    run = await get_latest_run(client, process_id)
    action = operator_actions.validate_action(
        process_id=process_id, run_id=run.run_id, action="cancel", reason=reason, actor=actor
    )
    if (status := status_of(run)) != "running":
        raise CancelRefused(process_id, f"it is {status}")
    if bug := await _stuck_reason(client, run):
        raise CancelRefused(process_id, f"it cannot undo its steps, because its code fails: {bug}")
    note = await _record(database, action)
    # By its first run, so that a job that has continued as a new run in the meantime is cancelled too.
    handle = client.get_workflow_handle(process_id, first_execution_run_id=first_run_id(run))
    try:
        await handle.cancel(reason=note, rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            raise CancelRefused(process_id, "it has just ended") from None
        raise Unreachable(f"Temporal could not cancel {process_id}: {error.message}") from error
    if wait is not None:
        await _wait_for_end(client, handle, wait)
    return run.run_id


async def cancel_order(
    client: Client, database: Database, order_id: str, *, reason: str, force: bool = False, actor: str = ""
) -> str:
    """Start `cancel-order` for an order, or join its open run; return the id of the process.

    `force`: neither ask the carrier whether it has the parcel, nor wait until it has refunded the label. Raises
    BadInput, Unreachable, DatabaseUnavailable.
    """
    action = operator_actions.validate_action(
        process_id=cancel_process_id(order_id), action="cancel-order", reason=reason, actor=actor
    )
    handle = await start(client, "cancel-order", CancelOrder(order_id=order_id, force=force))
    async with database.transaction() as tx:
        await operator_actions.record(tx, action.model_copy(update={"run_id": handle.first_execution_run_id or ""}))
    return handle.id


async def dismiss(client: Client, database: Database, process_id: str, *, reason: str, actor: str = "") -> str:
    """Record that the latest run of a process has failed and needs nobody; return its id.

    Lists of failed processes leave it out. Nothing else changes: it can still be retried. Raises DismissRefused if it
    has not failed, BadInput, ProcessNotFound, Unreachable, DatabaseUnavailable.
    """
    run = await get_latest_run(client, process_id)
    action = operator_actions.validate_action(
        process_id=process_id, run_id=run.run_id, action="dismiss", reason=reason, actor=actor
    )
    if (status := status_of(run)) not in FAILED:
        raise DismissRefused(process_id, f"it is {status}")
    async with database.transaction() as tx:
        if run.run_id not in await operator_actions.dismissed_runs(tx, [process_id]):
            await operator_actions.record(tx, action)
    return run.run_id


async def _refuse_if_running(client: Client, run: WorkflowExecutionDescription) -> None:
    if status_of(run) == "running":
        error = await _stuck_reason(client, run)
        raise RetryRefused(run.id, f"it is running, but its code fails: {error}" if error else "it is running")
    await check_job_is_idle(client, run.workflow_type)


async def _stuck_reason(client: Client, run: WorkflowExecutionDescription) -> str | None:
    if not run.typed_search_attributes.get(REPORTED_PROBLEMS):
        return None
    with unreachable_if_refused(f"describe {run.id}"):
        return await stuck_reason(client, run, await recent_events(client, run))


async def _refuse_if_completed(database: Database, run: WorkflowExecutionDescription) -> None:
    """Raise RetryRefused for a completed process, unless a mail to the customer was not sent or a refund is due."""
    if status_of(run) != "completed" or run.typed_search_attributes.get(OUTCOME) == REFUND_DUE:
        return
    order_id, customer_id = (run.typed_search_attributes.get(attribute) for attribute in (ORDER_ID, CUSTOMER_ID))
    if run.workflow_type == "cancel-order" and order_id and await _is_refund_due(database, order_id):
        return
    order_key = cancelled_key if run.workflow_type == "cancel-order" else shipped_key
    mail = order_key(order_id) if order_id else welcome_key(customer_id) if customer_id else None
    if run.workflow_type == "return-order":
        mail = returned_key(run.id.removeprefix(PROCESS_ID_PREFIX))
    async with database.transaction() as tx:
        if mail is None or not await operator_actions.is_unsent(tx, mail):
            raise RetryRefused(run.id, "it is completed")


async def _is_refund_due(database: Database, order_id: str) -> bool:
    """Return whether the refund of a cancelled order is due, because it has failed since."""
    async with database.transaction() as tx:
        return await payments.due(tx, RefundRequest(order_id=order_id, purpose=PURPOSE)) > 0


async def _start_event(client: Client, run: WorkflowExecutionDescription) -> HistoryEvent:
    started = await start_event(client, run)
    if started is None:
        raise RetryRefused(run.id, "Temporal has deleted its input")
    return started


async def _start_request(
    client: Client, run: WorkflowExecutionDescription, started: HistoryEvent
) -> StartWorkflowExecutionRequest:
    original = started.workflow_execution_started_event_attributes
    # The client's own start_workflow makes a new request id for each call, so two retries would start two runs.
    return StartWorkflowExecutionRequest(
        namespace=client.namespace,
        workflow_id=run.id,
        workflow_type=original.workflow_type,
        task_queue=TaskQueue(name=original.task_queue.name),
        input=Payloads(payloads=await _input(client, original.workflow_type.name, original.input.payloads)),
        header=Header(fields=current_trace_headers()),
        search_attributes=original.search_attributes,
        user_metadata=await _title(client, started),
        identity=client.identity,
        request_id=f"retry {run.run_id}",
        workflow_id_reuse_policy=ALLOW_ALWAYS if status_of(run) == "completed" else ALLOW_AFTER_FAILURE,
        workflow_id_conflict_policy=WorkflowIdConflictPolicy.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
    )


async def _start_again(client: Client, request: StartWorkflowExecutionRequest) -> str:
    try:
        return (await client.workflow_service.start_workflow_execution(request, retry=True, timeout=RPC_TIMEOUT)).run_id
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:
            raise RetryRefused(request.workflow_id, "a newer run has just started") from None
        raise Unreachable(f"Temporal could not start {request.workflow_id}: {error.message}") from error


async def _input(client: Client, kind: str, original: Sequence[Payload]) -> list[Payload]:
    """Return the original input. An order is processed even if it is on hold: the operator asked for it.

    Raises BadInput if no run can start with it.
    """
    value = await _decode_input(client, PROCESS_TYPES[kind], original) if kind in PROCESS_TYPES else None
    if not isinstance(value, OrderProcessing):
        return await _reencrypt(client, *original)
    return await client.data_converter.encode([value.model_copy(update={"unless_held": False})])


async def _decode_input(client: Client, process_type: ProcessType, original: Sequence[Payload]) -> Any:
    if len(original) > 1:
        problem = FieldError(field="input", message=f"must be one object, got {len(original)} arguments")
        raise BadInput([problem])
    converter, kind = client.data_converter, process_type.input or process_type.entry
    try:
        value = (await converter.decode(original, [kind]))[0] if original else None
        if value is None:  # it was left out
            [value] = await converter.decode(await converter.encode([{}]), [kind])
    except ApplicationError as failure:
        if bad_input := cause(failure, BadInput):
            raise bad_input from None
        raise
    return value


async def _title(client: Client, started: HistoryEvent) -> UserMetadata | None:
    original = started.user_metadata
    if not original.HasField("summary"):
        return None
    details = (await _reencrypt(client, original.details))[0] if original.HasField("details") else None
    return UserMetadata(summary=(await _reencrypt(client, original.summary))[0], details=details)


async def _reencrypt(client: Client, *payloads: Payload) -> list[Payload]:
    """Encrypt payloads with the newest key, because their present key may soon be removed."""
    codec = client.data_converter.payload_codec
    return await codec.encode(await codec.decode(payloads)) if codec else list(payloads)


async def _record(database: Database, action: Action) -> str:
    async with database.transaction() as tx:
        return await operator_actions.record(tx, action)


async def _wait_for_end(client: Client, handle: WorkflowHandle[object, object], wait: timedelta) -> None:
    """Wait until a process ends, for `wait` at most, or until its code fails: then it can wait forever."""
    ending, stuck = asyncio.ensure_future(handle.result()), asyncio.ensure_future(_wait_until_stuck(client, handle.id))
    with suppress(WorkflowFailureError), unreachable_if_refused(f"wait for the end of {handle.id}"):
        try:
            await asyncio.wait((ending, stuck), timeout=wait.total_seconds(), return_when=asyncio.FIRST_COMPLETED)
            for ended in filter(asyncio.Future.done, (ending, stuck)):
                ended.result()
        finally:
            ending.cancel()
            stuck.cancel()


async def _wait_until_stuck(client: Client, process_id: str) -> None:
    while True:
        with suppress(Unreachable):  # then nobody knows yet
            if await _stuck_reason(client, await get_latest_run(client, process_id)):
                return
        await asyncio.sleep(STUCK_INTERVAL)
