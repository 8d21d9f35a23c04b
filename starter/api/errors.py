"""All errors over HTTP have one shape: `{"error", "code", "details"?, "fields"?, …}`.

They never contain a stack trace, a secret or the value of an invalid field.
"""

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

from activities.boundary.failures import describe, failure_type
from commerce import errors
from commerce.errors import CommerceError
from commerce.messages.base import FieldError, problem_message
from starter.api.document import keep_nulls
from starter.api.error_codes import ErrorCode

Responses = dict[int | str, dict[str, Any]]  # OpenAPI's description of a route's responses, by status

REQUEST_ID = "X-Request-ID"
INVALID_INPUT = "Invalid input"
WORKFLOW_FAILED = "Workflow execution failed"
JSON_CONTENT_TYPE = re.compile(r"application/([^;\s]+\+)?json\b", re.IGNORECASE)
UNREADABLE_BODIES: Mapping[type, str] = {
    RecursionError: "The body is nested too deeply",
    UnicodeDecodeError: "The body is not UTF-8 text",
    ValueError: "The body contains a number with too many digits",
}
NOWHERE: Mapping[str, str] = {}
NOT_JSON = "The body must be JSON with Content-Type: application/json"
# The nearest ancestor of an error decides. Any other error of the shop is a bug here: 500.
STATUSES: Mapping[type[CommerceError], HTTPStatus] = {
    errors.BadInput: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.WrongProcessId: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.ProcessNotFound: HTTPStatus.NOT_FOUND,
    errors.ScheduleNotFound: HTTPStatus.NOT_FOUND,
    errors.WaitNotFound: HTTPStatus.NOT_FOUND,
    errors.PickNotFound: HTTPStatus.NOT_FOUND,
    errors.OrderNotFound: HTTPStatus.NOT_FOUND,
    errors.OrderRefused: HTTPStatus.CONFLICT,
    errors.ReturnNotFound: HTTPStatus.NOT_FOUND,
    errors.ItemNotFound: HTTPStatus.NOT_FOUND,
    errors.NotificationNotFound: HTTPStatus.NOT_FOUND,
    errors.WebhookNotFound: HTTPStatus.NOT_FOUND,
    errors.WebhookExists: HTTPStatus.CONFLICT,
    errors.ResendRefused: HTTPStatus.CONFLICT,
    errors.ProcessIdTaken: HTTPStatus.CONFLICT,
    errors.ActionRefused: HTTPStatus.CONFLICT,
    errors.CorrectionRefused: HTTPStatus.CONFLICT,
    errors.JobInProgress: HTTPStatus.CONFLICT,
    errors.RegistrationInProgress: HTTPStatus.CONFLICT,
    errors.CustomerAlreadyExists: HTTPStatus.CONFLICT,
    errors.CustomerHasOpenOrders: HTTPStatus.CONFLICT,
    errors.AddressKeyMissing: HTTPStatus.CONFLICT,
    errors.CustomerNotFound: HTTPStatus.NOT_FOUND,
    errors.OrderDiffers: HTTPStatus.CONFLICT,
    errors.ConstraintViolated: HTTPStatus.CONFLICT,
    errors.InvalidData: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.Unreachable: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.DatabaseUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}
FRAMEWORK_CODES: Mapping[int, ErrorCode] = {
    HTTPStatus.NOT_FOUND: ErrorCode.NotFound,
    HTTPStatus.METHOD_NOT_ALLOWED: ErrorCode.MethodNotAllowed,
}


class Problem(BaseModel):
    """The body of every error."""

    error: str = Field(description="What went wrong, for people")
    code: ErrorCode
    details: str | None = Field(None, description="The reason, if known")
    fields: list[FieldError] | None = Field(
        None, description="The invalid parts of the request, such as `body.input.order_id`; never their values"
    )
    transaction_id: str | None = Field(None, description="The process that the error is about")
    failed_step: str | None = Field(None, description="The step that failed permanently")


class ApiError(HTTPException):
    """An error of the API itself, which has no class in commerce/errors.py."""

    def __init__(
        self, status: HTTPStatus, code: ErrorCode, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, message, headers)
        self.code = code


def error_response(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response, without its empty fields."""
    return JSONResponse(_as_json(problem), status, headers)


def json_example(value: object, description: str) -> dict[str, Any]:
    """Return OpenAPI's description of a response with this JSON as its example."""
    return {"description": description, "content": {"application/json": {"example": keep_nulls(value)}}}


def problem_of(error: CommerceError) -> Problem:
    """Return the body for an error of the shop; the messages of these errors hold no personal data."""
    message, fields = str(error), None
    match error:
        case errors.BadInput():
            message, fields = INVALID_INPUT, error.fields
        case errors.WrongProcessId():
            wrong_id = FieldError(field="body.transaction_id", message=f"must be {error.wanted}, or left out")
            message, fields = INVALID_INPUT, [wrong_id]
        case errors.OrderDiffers():
            fields = [
                FieldError(field=f"body.{name}", message="differs from the known order") for name in error.differing
            ]
    return Problem(error=message, code=ErrorCode(type(error).__name__), fields=fields)


def failure_problem(failure: BaseException, transaction_id: str, failed_step: str | None = None) -> Problem:
    """Return the body for a process that failed: its code is the error that stopped the process, if that has one."""
    return Problem(
        error=WORKFLOW_FAILED,
        code=ErrorCode.__members__.get(failure_type(failure), ErrorCode.ProcessFailed),
        details=describe(failure),
        transaction_id=transaction_id,
        failed_step=failed_step,
    )


def error_examples(status: HTTPStatus, description: str, *examples: Problem | CommerceError) -> Responses:
    """Return OpenAPI's description of an error response, with one example or more.

    It refers to the schema of Problem: with `model=`, FastAPI would document errors of a stream as a stream, too.
    """
    problems = [example if isinstance(example, Problem) else problem_of(example) for example in examples]
    values = {problem.code.value: {"value": _as_json(problem)} for problem in problems}
    content = {"examples": values} if len(problems) > 1 else {"example": _as_json(problems[0])}
    content |= {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {status.value: {"description": description, "content": {"application/json": content}}}


def _as_json(problem: Problem) -> dict[str, Any]:
    return problem.model_dump(mode="json", exclude_none=True)


UNAUTHORIZED = Problem(error="A valid token is required", code=ErrorCode.Unauthorized)
ROLE_REQUIRED = Problem(error="This requires the role operator; anna has the role viewer", code=ErrorCode.RoleRequired)
FOREIGN_PAGE = Problem(error="A page of another site may not do this", code=ErrorCode.ForeignPage)


def body_too_large(mebibytes: int) -> Problem:
    """Return the body for a request whose body is larger than this."""
    return Problem(error=f"The body is larger than {mebibytes} MiB", code=ErrorCode.BodyTooLarge)


MAX_MEBIBYTES = 1  # of the body of most requests, see starter/api/limits.py
BODY_TOO_LARGE = body_too_large(MAX_MEBIBYTES)

COMMON_ERRORS: Responses = {
    **error_examples(
        HTTPStatus.UNAUTHORIZED,
        "The token is missing or invalid",
        UNAUTHORIZED,
    ),
    **error_examples(
        HTTPStatus.FORBIDDEN,
        "The token's role does not allow this, a browser sent the request for a page of another site, or the API was "
        "called by another host name",
        ROLE_REQUIRED,
        FOREIGN_PAGE,
    ),
    **error_examples(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "The body is too large",
        BODY_TOO_LARGE,
    ),
    **error_examples(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        "The request is invalid; `fields` name the invalid parts",
        errors.BadInput([FieldError(field="query.limit", message="Input should be less than or equal to 500")]),
    ),
    **error_examples(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "Temporal or the database is unavailable; it is safe to send the request again",
        errors.Unreachable("Temporal does not answer at localhost:7233"),
        errors.DatabaseUnavailable("no connection to localhost:5432"),
    ),
}


@contextmanager
def prefix_field_errors(prefix: str, **elsewhere: str) -> Iterator[None]:
    """Prefix the fields of a BadInput raised in the block with their place in the request, such as `body.input`.

    `elsewhere`: the places of fields that are not there.
    """
    try:
        yield
    except errors.BadInput as error:
        raise prefixed(prefix, error, elsewhere) from None


def prefixed(prefix: str, error: errors.BadInput, elsewhere: Mapping[str, str] = NOWHERE) -> errors.BadInput:
    """Return the error with its fields as `prefix_field_errors` names them."""
    return errors.BadInput(
        [
            FieldError(field=elsewhere.get(found.field, f"{prefix}.{found.field}"), message=found.message)
            for found in error.fields
        ]
    )


def install_handlers(app: FastAPI) -> None:
    """Make the app respond to every exception with a Problem."""
    app.exception_handler(HTTPException)(_http_error)
    app.exception_handler(RequestValidationError)(_validation_error)
    for error_class in STATUSES:
        app.exception_handler(error_class)(_shop_error)
    app.exception_handler(Exception)(_unexpected_error)


async def _http_error(_request: Request, error: HTTPException) -> JSONResponse:
    """Respond to an error that the framework or a route raises, such as 404 or 405."""
    if details := UNREADABLE_BODIES.get(type(error.__cause__)):  # FastAPI responds to these with other statuses
        problem = Problem(error=INVALID_INPUT, code=ErrorCode.BadInput, details=details)
        return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, problem)
    default = FRAMEWORK_CODES.get(error.status_code, ErrorCode.BadRequest)
    code = error.code if isinstance(error, ApiError) else default
    return error_response(error.status_code, Problem(error=str(error.detail), code=code), error.headers)


async def _validation_error(request: Request, error: RequestValidationError) -> JSONResponse:
    """Name the invalid fields without their values."""
    fields = [
        FieldError(field=".".join(map(str, e["loc"])), message=problem_message(e["type"], e["msg"]))
        for e in error.errors()
    ]
    is_not_json = fields[0].field == "body" and not JSON_CONTENT_TYPE.match(request.headers.get("content-type", ""))
    details = NOT_JSON if is_not_json else None
    problem = Problem(error=INVALID_INPUT, code=ErrorCode.BadInput, details=details, fields=fields)
    return error_response(HTTPStatus.UNPROCESSABLE_ENTITY, problem)


def status_of(error: CommerceError) -> HTTPStatus:
    """Return the status of the response to an error of the shop that has one."""
    return next(STATUSES[error_class] for error_class in type(error).__mro__ if error_class in STATUSES)


async def _shop_error(_request: Request, error: CommerceError) -> JSONResponse:
    return error_response(status_of(error), problem_of(error))


async def _unexpected_error(request: Request, _error: Exception) -> JSONResponse:
    """Respond to a bug of ours; only the log has its details."""
    headers = {REQUEST_ID: request.state.request_id}
    problem = Problem(error="Internal error", code=ErrorCode.InternalError)
    return error_response(HTTPStatus.INTERNAL_SERVER_ERROR, problem, headers)
