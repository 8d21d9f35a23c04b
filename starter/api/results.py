"""Responses to the start of a process: its result, or what stopped it, or that it still runs."""

import asyncio
import logging
from http import HTTPStatus
from typing import Any, Literal

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from activities.boundary.failures import shop_error
from commerce.errors import (
    AddressKeyMissing,
    BadInput,
    CustomerAlreadyExists,
    CustomerHasOpenOrders,
    CustomerNotFound,
    RegistrationInProgress,
)
from starter.api.backends import Backends
from starter.api.error_codes import ErrorCode
from starter.api.errors import Problem, error_response, failure_problem, prefixed, problem_of, status_of
from starter.api.parameters import ResponseBody
from starter.connection.rpc import RPC_TIMEOUT
from workflows.engine.search_attributes import FAILED_STEP

NO_RESULT = "Temporal does not return the result; get the process later"
# Failures of a process that are about what the caller asks for.
REFUSALS = (
    CustomerAlreadyExists,
    RegistrationInProgress,
    CustomerHasOpenOrders,
    CustomerNotFound,
    AddressKeyMissing,
)

log = logging.getLogger(__name__)


class ExecutionResult(ResponseBody):
    """A process that completed."""

    success: Literal[True] = True
    result: Any = Field(description="The result of this process type")
    transaction_id: str


class ExecutionPending(ResponseBody):
    """A process that still runs after `wait_seconds`."""

    success: Literal[True] = True
    status: Literal["running"] = "running"
    transaction_id: str


async def respond(
    handle: WorkflowHandle[Any, Any], wait_seconds: float, request: Request, backends: Backends
) -> ExecutionResult | Response:
    """Wait for the result of a process that was started, and respond with it, or with 202 if it takes longer."""
    try:
        async with asyncio.timeout(wait_seconds):
            result = await _wait_for_result(handle, request, backends.stopping)
    except TimeoutError:
        pending = ExecutionPending(transaction_id=handle.id)
        return JSONResponse(pending.model_dump(), HTTPStatus.ACCEPTED)
    except WorkflowFailureError as failure:
        return await _failure_response(handle, failure)
    except RPCError as error:
        log.warning("Temporal does not return the result of %s: %s", handle.id, error.message)
        problem = Problem(error=NO_RESULT, code=ErrorCode.Unreachable, transaction_id=handle.id)
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, problem)
    return ExecutionResult(result=result, transaction_id=handle.id)


async def _wait_for_result(handle: WorkflowHandle[Any, Any], request: Request, stopping: asyncio.Event) -> Any:
    """Return the result; raises TimeoutError if the caller disconnects or the server stops first."""
    result = asyncio.ensure_future(handle.result())
    interruptions = [asyncio.ensure_future(request.receive()), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait([result, *interruptions], return_when=asyncio.FIRST_COMPLETED)
        if result.done():
            return result.result()
        raise TimeoutError
    finally:
        for waiting in (result, *interruptions):
            waiting.cancel()


async def _failure_response(handle: WorkflowHandle[Any, Any], failure: WorkflowFailureError) -> JSONResponse:
    error = shop_error(failure)
    if isinstance(error, REFUSALS):
        problem = problem_of(error).model_copy(update={"transaction_id": handle.id})
        return error_response(status_of(error), problem)
    if isinstance(error, BadInput):  # that only a step could find
        problem = problem_of(prefixed("body.input", error)).model_copy(update={"transaction_id": handle.id})
        return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
    problem = failure_problem(failure, handle.id, await _failed_step(handle))
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, problem)


async def _failed_step(handle: WorkflowHandle[Any, Any]) -> str | None:
    try:
        return (await handle.describe(rpc_timeout=RPC_TIMEOUT)).typed_search_attributes.get(FAILED_STEP)
    except RPCError as error:
        log.warning("Temporal does not return the failed step of %s: %s", handle.id, error.message)
        return None
