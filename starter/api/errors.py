"""Every error over HTTP in one shape: `{"error", "details"?, "fields"?}`, never a stack trace or a secret."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from commerce.messages.base import FieldError


class Problem(BaseModel):
    """What a caller is told when something went wrong."""

    error: str
    details: str | None = None
    fields: list[FieldError] | None = None


def answer(status: int, problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return a problem as a response; what it does not have is left out."""
    return JSONResponse(problem.model_dump(exclude_none=True), status, headers)


def install(app: FastAPI) -> None:
    """Let the app answer in this shape whatever goes wrong."""
    app.exception_handler(HTTPException)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)
    app.exception_handler(Exception)(_broken)


async def _refused(_request: Request, error: HTTPException) -> JSONResponse:
    """404, 405 and whatever a route raises on purpose."""
    return answer(error.status_code, Problem(error=str(error.detail)), error.headers)


async def _invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Name the fields that do not fit; their values stay out."""
    fields = [FieldError(field=".".join(map(str, e["loc"])), message=e["msg"]) for e in error.errors()]
    return answer(HTTPStatus.UNPROCESSABLE_ENTITY, Problem(error="Invalid input", fields=fields))


async def _broken(_request: Request, _error: Exception) -> JSONResponse:
    """A bug of ours: the log has it, the caller has not."""
    return answer(HTTPStatus.INTERNAL_SERVER_ERROR, Problem(error="Internal error"))
