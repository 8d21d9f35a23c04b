"""`GET /workflow`: a process run by a route, see docs/tutorial.md."""

import asyncio
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import JSONResponse
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from activities.boundary.failures import describe
from commerce.errors import Unreachable
from commerce.messages.tutorial import Greeting, HelloWorld, Name
from starter.api.backends import Temporal
from starter.api.bodies import AWAY
from starter.api.errors import Problem, answer, documented
from starter.client import start

WAIT = 30  # seconds
FAILED = "Workflow execution failed"
NO_GREETING = documented(HTTPStatus.INTERNAL_SERVER_ERROR, "It was cut off", error=FAILED, details="CancelledError: ")

routes = APIRouter(tags=["tutorial"], responses=AWAY | NO_GREETING)


@routes.get("/workflow", response_model=Greeting)
async def greet(
    temporal: Temporal, name: Annotated[Name, Query(description="Whom to greet")] = "John"
) -> Greeting | JSONResponse:
    """Run `hello-world`, wait for its end and answer its result."""
    handle = await start(temporal, "hello-world", HelloWorld(name=name))
    try:
        async with asyncio.timeout(WAIT):
            return Greeting.model_validate(await handle.result())
    except WorkflowFailureError as failure:
        problem = Problem(error=FAILED, details=describe(failure), transaction_id=handle.id)
        return answer(HTTPStatus.INTERNAL_SERVER_ERROR, problem)
    except TimeoutError:
        raise Unreachable(f"{handle.id} has not ended within {WAIT} s: no worker, or a busy one") from None
    except RPCError as error:
        raise Unreachable(f"Temporal does not tell how {handle.id} ends: {error.message}") from error
