"""Processes over HTTP: start, list, show, retry and cancel them."""

import json
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, ConfigDict, Field

from commerce.messages.base import Message
from commerce.messages.cancellations import CancelOrder
from commerce.messages.forgetting import ForgetCustomer
from commerce.messages.runs import Page, ProcessStatus, StatusFilter
from starter.api import workflow_examples as examples
from starter.api.admission import CLIENT_CLOSED_REQUEST, AdmissionDep, CallerLeft
from starter.api.admission import RESPONSES as RATE_RESPONSES
from starter.api.backends import BackendsDep, ClientDep, DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.error_codes import ErrorCode
from starter.api.errors import COMMON_ERRORS, ApiError, prefix_field_errors
from starter.api.parameters import (
    MAX_ID_LENGTH,
    ReasonBody,
    RequestBody,
    ResponseBody,
    Text,
    TransactionId,
)
from starter.api.personal_data import process_for
from starter.api.results import ExecutionPending, ExecutionResult, respond
from starter.client import start
from starter.operate import actions, process_status
from starter.operate.process_list import Narrowing, list_processes
from starter.processes import PROCESS_TYPES

MAX_WAIT = 900  # seconds

routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=COMMON_ERRORS)


def is_for_admins(entry: Message) -> bool:
    """Return whether only admins may start a process with this input, because it destroys something."""
    return isinstance(entry, ForgetCustomer) or (isinstance(entry, CancelOrder) and entry.force)


class Execute(RequestBody):
    """A process to start."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.EXECUTE_BODIES})

    workflow_id: Text = Field(
        max_length=MAX_ID_LENGTH, description=f"The process type, one of {', '.join(PROCESS_TYPES)}"
    )
    input: dict[str, Any] = Field(
        {},
        description="The input of this process type; for `customer-registration` with the `password` in clear; "
        "default: no options",
    )
    transaction_id: Text | None = Field(
        None,
        max_length=MAX_ID_LENGTH,
        description="The process id. It is derived from the input and can be left out; only `hello-world` and "
        "`product-count` accept any id.",
    )
    wait_seconds: float = Field(
        30, ge=0, le=MAX_WAIT, description="The time to wait for the result, in seconds; default: 30"
    )


class ActionAccepted(ResponseBody):
    """A retry or a cancellation that was started, or a failed process that was dismissed."""

    transaction_id: str
    run_id: str = Field(description="The run that was started, is being cancelled or was dismissed")
    action: Literal["retry", "cancel", "dismiss"]


@routes.post(
    "/execute",
    summary="Start a process",
    response_model=ExecutionResult,
    responses={
        **RATE_RESPONSES,
        **examples.EXECUTE_RESPONSES,
        HTTPStatus.ACCEPTED: {"model": ExecutionPending} | examples.PENDING,
    },
    dependencies=[requires(Role.operator)],
)
async def execute_workflow(
    body: Execute, backends: BackendsDep, admission: AdmissionDep, caller: CallerDep, request: Request
) -> ExecutionResult | Response:
    """Start a process and wait for its result; `order-processing` joins the order's open run if there is one.

    After `wait_seconds` the response is 202, and the process continues: get its state with
    `GET /workflows/{transaction_id}`, or follow it with `GET /workflows/{transaction_id}/events`. It also continues if
    the caller disconnects, unless it is a registration that has not been started yet. It is safe to send the request
    again: an order is fulfilled only once.
    """
    process_type = PROCESS_TYPES.get(body.workflow_id)
    if process_type is None:
        raise ApiError(HTTPStatus.BAD_REQUEST, ErrorCode.UnknownWorkflow, f"Unknown workflow: {body.workflow_id}")
    with prefix_field_errors("body.input"):
        entry = process_type.parse(json.dumps(body.input))
    if is_for_admins(entry):
        caller.require(Role.admin)
    try:
        async with admission.starting(body.workflow_id, entry, request):
            with prefix_field_errors("body.input", transaction_id="body.transaction_id"):
                handle = await start(await backends.client(), body.workflow_id, entry, process_id=body.transaction_id)
    except CallerLeft:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    return await respond(handle, body.wait_seconds, request, backends)


@routes.get("", summary="List processes", responses=examples.LIST_RESPONSES, dependencies=[requires(Role.viewer)])
async def list_workflows(
    temporal: ClientDep,
    database: DatabaseDep,
    status: Annotated[
        StatusFilter | None,
        Query(
            description="`failed` includes timed out and terminated processes; `stuck` means that workflow code fails"
        ),
    ] = None,
    kind: Annotated[
        str | None,
        Query(alias="type", description="Only processes of this type", json_schema_extra={"enum": list(PROCESS_TYPES)}),
    ] = None,
    outcome: Annotated[
        str | None,
        Query(max_length=100, description="Only completed processes with this result", examples=["rejected"]),
    ] = None,
    search: Annotated[
        str | None, Query(max_length=200, description="How the process id starts, or the id of an order or customer")
    ] = None,
    since: Annotated[
        AwareDatetime | None, Query(description="Only processes that ended, or if they run started, since this time")
    ] = None,
    until: Annotated[
        AwareDatetime | None, Query(description="Only processes that ended, or if they run started, before this time")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="The maximum number of processes")] = 50,
    cursor: Annotated[
        str | None, Query(max_length=10_000, description="The `next_cursor` of the previous page")
    ] = None,
) -> Page:
    """List processes by their latest run: one that failed and was retried with success is not `failed`.

    A new process may appear only after a second. Failed processes that were dismissed are not `failed` either.
    """
    only = Narrowing(outcome=outcome, search=search, since=since, until=until)
    with prefix_field_errors("query"):
        return await list_processes(temporal, status, kind, limit, cursor, only=only, database=database)


@routes.get(
    "/{transaction_id}",
    summary="Get a process",
    responses=examples.STATUS_RESPONSES,
    dependencies=[requires(Role.viewer)],
)
async def get_workflow(
    transaction_id: TransactionId, temporal: ClientDep, backends: BackendsDep, caller: CallerDep
) -> ProcessStatus:
    """Return the state of a process's latest run, with the progress of every step. Viewers get no result."""
    status = await process_status.get_status(temporal, transaction_id, ui=backends.settings.temporal_ui_url)
    return process_for(caller, status)


@routes.post(
    "/{transaction_id}/retry",
    summary="Retry a process",
    status_code=HTTPStatus.ACCEPTED,
    responses=examples.RETRY_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def retry_workflow(
    transaction_id: TransactionId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, body: ReasonBody
) -> ActionAccepted:
    """Run a failed, cancelled or interrupted process again with the same input.

    The new run first undoes the steps that older runs left done.
    """
    run_id = await actions.retry(temporal, database, transaction_id, reason=body.reason, actor=caller.name)
    return ActionAccepted(transaction_id=transaction_id, run_id=run_id, action="retry")


@routes.post(
    "/{transaction_id}/cancel",
    summary="Cancel a process",
    status_code=HTTPStatus.ACCEPTED,
    responses=examples.CANCEL_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def cancel_workflow(
    transaction_id: TransactionId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, body: ReasonBody
) -> ActionAccepted:
    """Cancel a running process: it undoes its completed steps. After its final step it completes instead."""
    run_id = await actions.cancel(temporal, database, transaction_id, reason=body.reason, actor=caller.name)
    return ActionAccepted(transaction_id=transaction_id, run_id=run_id, action="cancel")


@routes.post(
    "/{transaction_id}/dismiss",
    summary="Dismiss a failed process",
    responses=examples.DISMISS_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def dismiss_workflow(
    transaction_id: TransactionId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, body: ReasonBody
) -> ActionAccepted:
    """Take a failed process off the list of failed ones, because nobody has to do anything about it.

    If it is retried and fails again, it is on the list again.
    """
    run_id = await actions.dismiss(temporal, database, transaction_id, reason=body.reason, actor=caller.name)
    return ActionAccepted(transaction_id=transaction_id, run_id=run_id, action="dismiss")
