"""Every error over HTTP in one shape: `{"error", "details"?, "fields"?, …}`, never a stack trace or a secret."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from commerce import errors
from commerce.errors import CommerceError
from commerce.messages.base import FieldError
from commerce.order_intake import OrderDiffers

Answers = dict[int | str, dict[str, Any]]  # what OpenAPI says of a route's, by status

REQUEST_ID = "X-Request-ID"
INVALID = "Invalid input"
IS_JSON = re.compile(r"application/([^;\s]+\+)?json\b", re.IGNORECASE)
UNREADABLE: Mapping[type, str] = {
    RecursionError: "The body is nested too deeply",
    UnicodeDecodeError: "The body is not UTF-8 text",
}
UNREAD = "The body is read as JSON only with Content-Type: application/json"
DIFFERS = "differs from what is known"
# The nearest class among an error's ancestors decides; an error of the shop that has none is a bug here.
STATUSES: Mapping[type[CommerceError], HTTPStatus] = {
    errors.BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.WrongProcessId: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ProcessNotFound: HTTPStatus.NOT_FOUND,
    errors.ScheduleNotFound: HTTPStatus.NOT_FOUND,
    errors.ProcessIdTaken: HTTPStatus.CONFLICT,
    errors.ActionRefused: HTTPStatus.CONFLICT,
    errors.JobInProgress: HTTPStatus.CONFLICT,
    errors.RegistrationInProgress: HTTPStatus.CONFLICT,
    errors.CustomerAlreadyExists: HTTPStatus.CONFLICT,
    OrderDiffers: HTTPStatus.CONFLICT,
    errors.Unreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}


class Problem(BaseModel):
    """What a caller is told when something went wrong."""

    error: str = Field(description="What went wrong, for people")
    details: str | None = Field(None, description="Why, where that is known")
    fields: list[FieldError] | None = Field(
        None, description="What is wrong with which part of the request, like `body.input.order_id`; never a value"
    )
    transaction_id: str | None = Field(None, description="The process that this is about")
    failed_step: str | None = Field(None, description="The step that failed for good")


def answer(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response; what it does not have is left out."""
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers)


def example(value: object, description: str) -> dict[str, Any]:
    """Return what OpenAPI says of an answer with this JSON."""
    return {"description": description, "content": {"application/json": {"example": value}}}


def documented(status: HTTPStatus, description: str, **problem: Any) -> Answers:
    """Return the entry of an error answer, by the example of a problem."""
    return {status.value: {"model": Problem, **example(problem, description)}}


@contextmanager
def within(place: str) -> Iterator[None]:
    """Let what is wrong with an input be looked for in this part of the request, like `body.input`."""
    try:
        yield
    except errors.BadInput as error:
        raise errors.BadInput(
            [FieldError(field=f"{place}.{found.field}", message=found.message) for found in error.fields]
        ) from None


def install(app: FastAPI) -> None:
    """Let the app answer in this shape whatever goes wrong."""
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    for kind in STATUSES:
        app.exception_handler(kind)(_not_done)
    app.exception_handler(Exception)(_broken)


async def _refused(_request: Request, error: HTTPException) -> JSONResponse:
    """404, 405 and whatever a route raises on purpose."""
    if details := UNREADABLE.get(type(error.__cause__)):  # which FastAPI has a status of its own for
        return answer(HTTPStatus.UNPROCESSABLE_ENTITY, Problem(error=INVALID, details=details))
    return answer(error.status_code, Problem(error=str(error.detail)), error.headers)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """Name the fields that do not fit; their values stay out."""
    fields = [
        FieldError(field=".".join(map(str, e["loc"])), message=e["msg"].removeprefix("Value error, "))
        for e in error.errors()
    ]
    unread = fields[0].field == "body" and not IS_JSON.match(request.headers.get("content-type", ""))
    problem = Problem(error=INVALID, details=UNREAD if unread else None, fields=fields)
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


async def _not_done(_request: Request, error: CommerceError) -> JSONResponse:
    """Say what the shop says: its messages hold nothing personal."""
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    match error:
        case errors.BadInput():
            return answer(status, Problem(error=INVALID, fields=error.fields))
        case errors.WrongProcessId():
            wrong = FieldError(field="body.transaction_id", message=f"must be {error.wanted}, or left out")
            return answer(status, Problem(error=INVALID, fields=[wrong]))
        case OrderDiffers():
            fields = [
                FieldError(field=f"body.{name}", message="differs from what is known") for name in error.differing
            ]
            return answer(status, Problem(error=str(error), fields=fields))
    return answer(status, Problem(error=str(error)))


async def _broken(request: Request, _error: Exception) -> JSONResponse:
    """A bug of ours: the log has it, the caller has not."""
    headers = {REQUEST_ID: request.state.request_id}
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, Problem(error="Internal error"), headers)
