"""Processes over HTTP: run one, see how it stands, list them, retry, cancel."""

import asyncio
import json
import logging
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from activities.boundary.failures import describe, shop_error
from commerce.errors import CustomerAlreadyExists
from commerce.messages.runs import Page, Status, Wanted
from starter.api import workflow_examples as examples
from starter.api.backends import Given, ShopDatabase, Temporal
from starter.api.bodies import ACTOR, AWAY, GivenReason, Text, TransactionId
from starter.api.errors import Problem, answer, within
from starter.client import start
from starter.operate import actions, process_list, process_status
from starter.processes import PROCESS_TYPES
from workflows.engine.search_attributes import FAILED_STEP

FAILED = "Workflow execution failed"
UNTOLD = "Temporal does not tell how it ends; ask for it later"
MAX_WAIT = 900  # seconds

log = logging.getLogger(__name__)
routes = APIRouter(prefix="/workflows", tags=["workflows"], responses=AWAY)


class Execute(BaseModel):
    """A process to run."""

    model_config = ConfigDict(json_schema_extra={"examples": examples.EXECUTE})

    workflow_id: Text = Field(max_length=200, description=f"The type: {', '.join(PROCESS_TYPES)}")
    input: dict[str, Any] = Field({}, description="What this type takes; registration takes a `password`")
    transaction_id: Text | None = Field(
        None,
        max_length=200,
        description="The id that the process is to have. It follows from the input and may be left out; the "
        "tutorial's types take any.",
    )
    wait_seconds: float = Field(30, ge=0, le=MAX_WAIT, description="How long to wait for the end, in seconds")


class Executed(BaseModel):
    """A process that has ended well."""

    success: Literal[True] = True
    result: Any = Field(description="What this type answers")
    transaction_id: str


class StillRunning(BaseModel):
    """A process that takes longer than was waited for, and goes on."""

    success: Literal[True] = True
    status: Literal["running"] = "running"
    transaction_id: str


class Done(BaseModel):
    """What was asked of a process; it has begun."""

    transaction_id: str
    run_id: str = Field(description="The run that was started, or is being undone")
    action: Literal["retry", "cancel"]


@routes.post("/execute", response_model=Executed, responses=examples.EXECUTED)
async def execute(body: Execute, backends: Given, request: Request) -> Executed | JSONResponse:
    """Start a process, or join the run of the same order, and wait for its end.

    A process goes on whether or not anybody waits for it: ask `GET /workflows/{transaction_id}` later, or follow
    `GET /workflows/{transaction_id}/events`. Sending the same again is safe: an order is fulfilled once.
    """
    process = PROCESS_TYPES.get(body.workflow_id)
    if process is None:
        return answer(HTTPStatus.BAD_REQUEST, Problem(error=f"Unknown workflow: {body.workflow_id}"))
    with within("body.input"):
        given = process.parse(json.dumps(body.input))
    with within("body"):
        handle = await start(await backends.client(), body.workflow_id, given, process_id=body.transaction_id)
    try:
        async with asyncio.timeout(body.wait_seconds):
            return Executed(result=await _result(handle, request, backends.stopping), transaction_id=handle.id)
    except TimeoutError:
        running = StillRunning(transaction_id=handle.id)
        return JSONResponse(running.model_dump(), HTTPStatus.ACCEPTED)
    except WorkflowFailureError as failure:
        return await _failed(handle, failure)
    except RPCError as error:
        log.warning("Temporal does not tell how %s ends: %s", handle.id, error.message)
        problem = Problem(error=UNTOLD, transaction_id=handle.id)
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, problem)


@routes.get("", responses=examples.PAGE)
async def list_workflows(
    temporal: Temporal,
    status: Annotated[
        Wanted | None, Query(description="`failed`: also timed out and terminated; `stuck`: its code fails")
    ] = None,
    kind: Annotated[
        str | None, Query(alias="type", description="Only this type", json_schema_extra={"enum": list(PROCESS_TYPES)})
    ] = None,
    limit: Annotated[int, Query(ge=1, le=500, description="So many at most")] = 50,
    cursor: Annotated[str | None, Query(max_length=10_000, description="The `next_cursor` of the page before")] = None,
) -> Page:
    """List processes, each by its latest run; one that was retried well is not failed. A new one may lag a second."""
    with within("query"):
        return await process_list.list_processes(temporal, status, kind, limit, cursor)


@routes.get("/{transaction_id}", responses=examples.STATUS)
async def get_workflow(transaction_id: TransactionId, temporal: Temporal, backends: Given) -> Status:
    """Tell how the latest run of a process stands, step by step."""
    return await process_status.get_status(temporal, transaction_id, ui=backends.settings.temporal_ui_url)


@routes.post("/{transaction_id}/retry", status_code=HTTPStatus.ACCEPTED, responses=examples.RETRY)
async def retry(transaction_id: TransactionId, temporal: Temporal, database: ShopDatabase, why: GivenReason) -> Done:
    """Start a process again that failed, was cancelled or cut off, with the same input; what it left is undone."""
    run_id = await actions.retry(temporal, database, transaction_id, reason=why.reason, actor=ACTOR)
    return Done(transaction_id=transaction_id, run_id=run_id, action="retry")


@routes.post("/{transaction_id}/cancel", status_code=HTTPStatus.ACCEPTED, responses=examples.CANCEL)
async def cancel(transaction_id: TransactionId, temporal: Temporal, database: ShopDatabase, why: GivenReason) -> Done:
    """Ask a process to undo itself; past its final step it is not undone any more and ends well."""
    run_id = await actions.cancel(temporal, database, transaction_id, reason=why.reason, actor=ACTOR)
    return Done(transaction_id=transaction_id, run_id=run_id, action="cancel")


async def _result(handle: WorkflowHandle[Any, Any], request: Request, stopping: asyncio.Event) -> Any:
    """Wait for the result as long as somebody waits for it; raises TimeoutError when nobody does any more."""
    result = asyncio.ensure_future(handle.result())
    others = [asyncio.ensure_future(request.receive()), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait([result, *others], return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise TimeoutError
    finally:
        for waiting in (result, *others):
            waiting.cancel()


async def _failed(handle: WorkflowHandle[Any, Any], failure: WorkflowFailureError) -> JSONResponse:
    if isinstance(error := shop_error(failure), CustomerAlreadyExists):
        return answer(HTTPStatus.CONFLICT, Problem(error=str(error), transaction_id=handle.id))
    problem = Problem(
        error=FAILED, details=describe(failure), transaction_id=handle.id, failed_step=await _failed_step(handle)
    )
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, problem)


async def _failed_step(handle: WorkflowHandle[Any, Any]) -> str | None:
    try:
        return (await handle.describe()).typed_search_attributes.get(FAILED_STEP)
    except RPCError as error:
        log.warning("Temporal does not tell where %s failed: %s", handle.id, error.message)
        return None
