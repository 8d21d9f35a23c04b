"""Builds the console: an app of its own, mounted into the API, whose errors are pages."""

from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from starlette.responses import Response

from commerce.errors import BadInput, CommerceError
from commerce.messages.base import problem_message
from starter.api.errors import REQUEST_ID, STATUSES, status_of
from starter.console import (
    assets,
    customers,
    frame,
    jobs,
    mails,
    order_actions,
    orders,
    process_actions,
    processes,
    reports,
    returns,
    stock,
    today,
    webhooks,
)
from starter.console.checks import Checks
from starter.console.sessions import PATH, Sessions
from starter.console.views import HEADERS, NotSignedIn, View, signed_in, view_without_form

TITLES = {
    HTTPStatus.FORBIDDEN: "You may not do this",
    HTTPStatus.NOT_FOUND: "There is no such page",
    HTTPStatus.METHOD_NOT_ALLOWED: "This page does not take that",
    HTTPStatus.CONFLICT: "This was refused",
    HTTPStatus.UNPROCESSABLE_ENTITY: "Something here is not valid",
    HTTPStatus.SERVICE_UNAVAILABLE: "A service is unavailable",
}
UNEXPECTED = "Something went wrong"
# A page of another site led here, and the browser kept the cookie to itself. To our own page it gives it.
ONCE_MORE = '<!doctype html><html lang="en"><meta http-equiv="refresh" content="0"><title>Console</title>'

ROUTES = APIRouter()  # built once, not once for each app
ROUTES.include_router(assets.routes)
ROUTES.include_router(frame.routes)
for _pages in (
    today,
    orders,
    order_actions,
    returns,
    processes,
    process_actions,
    stock,
    jobs,
    reports,
    mails,
    webhooks,
    customers,
):
    ROUTES.include_router(_pages.routes, dependencies=[Depends(signed_in)])


def mount_console(api: FastAPI) -> None:
    """Add the console to the API, whose backends and watches it uses."""
    api.mount(PATH, _create_console(api.state))
    # A path without the slash is none of the mounted app. `redirect_slashes` would lead to the host the request names.
    api.add_route(PATH, _add_slash, include_in_schema=False)


async def _add_slash(_request: Request) -> Response:
    return RedirectResponse(f"{PATH}/")


def _create_console(state: State) -> FastAPI:
    console = FastAPI(routes=ROUTES.routes, openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    console.state = state
    console.state.sessions = Sessions(state.backends.settings)
    console.state.snapshots = today.Snapshots()
    console.state.checks = Checks()
    console.exception_handler(NotSignedIn)(_lead_to_sign_in)
    console.exception_handler(CommerceError)(_shop_error)
    console.exception_handler(HTTPException)(_http_error)
    console.exception_handler(RequestValidationError)(_validation_error)
    console.exception_handler(Exception)(_unexpected_error)
    return console


async def _lead_to_sign_in(request: Request, _error: Exception) -> Response:
    headers = request.headers
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") == "navigate":
        return HTMLResponse(ONCE_MORE, headers=HEADERS)
    target = f"{PATH}/sign-in"
    if request.method == "GET":
        target += f"?next={quote(_address(request), safe='')}"
    if headers.get("hx-request"):  # of a part of a page: the whole page has to go there
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Redirect": target})
    return RedirectResponse(target, HTTPStatus.SEE_OTHER, {"Cache-Control": "no-store"})


def _address(request: Request) -> str:
    """Return the path of a request, with its query."""
    return request.url.path + (f"?{request.url.query}" if request.url.query else "")


async def _shop_error(request: Request, error: CommerceError) -> Response:
    if not isinstance(error, tuple(STATUSES)):
        return await _unexpected_error(request, error)
    fields = error.fields if isinstance(error, BadInput) else []
    return await _problem(request, status_of(error), "" if fields else str(error), fields=fields)


async def _http_error(request: Request, error: HTTPException) -> Response:
    standard = error.detail == HTTPStatus(error.status_code).phrase
    return await _problem(request, error.status_code, "" if standard else str(error.detail))


async def _validation_error(request: Request, error: RequestValidationError) -> Response:
    fields = [
        {"field": ".".join(map(str, found["loc"][1:])), "message": problem_message(found["type"], found["msg"])}
        for found in error.errors()
    ]
    return await _problem(request, HTTPStatus.UNPROCESSABLE_ENTITY, "", fields=fields)


async def _unexpected_error(request: Request, _error: Exception) -> Response:
    return await _problem(request, HTTPStatus.INTERNAL_SERVER_ERROR, "The log of the API has the details.")


async def _problem(request: Request, status: int, message: str, fields: Any = ()) -> Response:
    # Not read again: an error handler may get no more of the request.
    view: View = getattr(request.state, "view", None) or view_without_form(request)
    if view.session.caller is None and status == HTTPStatus.NOT_FOUND:
        return await _lead_to_sign_in(request, NotSignedIn())
    return view.render(
        "problem.html.j2",
        status,
        title=TITLES.get(HTTPStatus(status), UNEXPECTED),
        message=message,
        fields=fields,
        may_try_again=request.method == "GET" and status >= HTTPStatus.INTERNAL_SERVER_ERROR,
        here=_address(request),
        request_id=getattr(request.state, "request_id", ""),
        request_id_header=REQUEST_ID,
    )
