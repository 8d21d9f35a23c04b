"""`GET /workflow`: a route that runs a process, see docs/tutorial.md."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from commerce.errors import Unreachable
from commerce.messages.tutorial import Greeting, HelloWorld, Name
from starter.api import admission as rates
from starter.api.admission import AdmissionDep
from starter.api.backends import ClientDep
from starter.api.callers import Role, requires
from starter.api.error_codes import ErrorCode
from starter.api.errors import (
    COMMON_ERRORS,
    WORKFLOW_FAILED,
    Problem,
    Responses,
    error_examples,
    error_response,
    failure_problem,
    json_example,
)
from starter.client import start

WAIT = 30  # seconds
RESPONSES: Responses = {
    200: json_example({"message": "Hello John from step two!"}, "The result of `hello-world`"),
    **rates.RESPONSES,
    **error_examples(
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "The process failed or was cancelled",
        Problem(
            error=WORKFLOW_FAILED,
            code=ErrorCode.ProcessFailed,
            details="CancelledError: ",
            transaction_id="hello-world-5d0c9f8e-1f7a-4a38-9a3c-0c6b8a3a7d52",
        ),
    ),
}

routes = APIRouter(tags=["tutorial"], responses=COMMON_ERRORS)


@routes.get(
    "/workflow",
    summary="Run hello-world",
    response_model=Greeting,
    responses=RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def greet(
    temporal: ClientDep,
    admission: AdmissionDep,
    request: Request,
    name: Annotated[Name, Query(description="The person to greet")] = "John",
) -> Greeting | JSONResponse:
    """Run `hello-world`, wait at most 30 seconds until it ends, and return its result."""
    entry = HelloWorld(name=name)
    async with admission.starting("hello-world", entry, request):
        handle = await start(temporal, "hello-world", entry)
    try:
        async with asyncio.timeout(WAIT):
            return Greeting.model_validate(await handle.result())
    except WorkflowFailureError as failure:
        return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, failure_problem(failure, handle.id))
    except TimeoutError:
        raise Unreachable(f"{handle.id} has not ended within {WAIT} s: no worker runs, or all are busy") from None
    except RPCError as error:
        raise Unreachable(f"Temporal does not return the result of {handle.id}: {error.message}") from error
