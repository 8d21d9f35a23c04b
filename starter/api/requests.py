"""Gives every request an id, writes one log line for it, and records its duration."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commerce.answer_links import PATH as ANSWERS
from commerce.telemetry.metrics import HTTP_DURATION
from starter.api.errors import REQUEST_ID
from starter.api.metrics import exporter
from starter.telemetry.metrics import create_histogram

VALID_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,100}")
PROBES = ("/health/", "/metrics")  # polled every few seconds
UNHANDLED_ERROR = 500  # the status of a request whose handling raised
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # callers can invent any number of others

log = structlog.stdlib.get_logger("commerce.api.requests")


class RequestLog:
    """Puts the request id, the caller's or a new one, into the response and every log line."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on to the app, then log and measure it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        sent_id = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = sent_id if VALID_REQUEST_ID.fullmatch(sent_id) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # Never unbound: the server logs exceptions after this returns, and every request runs in its own task.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, started = UNHANDLED_ERROR, time.perf_counter()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            seconds = time.perf_counter() - started
            _measure(scope, status, seconds)
            _log(scope, status, seconds)


def _measure(scope: Scope, status: int, seconds: float) -> None:
    """Record the duration under the route's pattern, since paths contain ids; a stream counts when it ends."""
    route = getattr(scope.get("route"), "path", None)
    labels = {
        "method": scope["method"] if scope["method"] in METHODS else "other",
        # The root path is that of a mounted app.
        "route": "unmatched" if route is None else scope.get("root_path", "") + route,
        "status": str(status),
    }
    create_histogram(exporter().meter, HTTP_DURATION).record(seconds, labels)


def _log(scope: Scope, status: int, seconds: float) -> None:
    """Log the request; of the query only the names, since values may be personal."""
    caller = scope.get("state", {}).get("caller")
    write = log.debug if scope["path"].startswith(PROBES) else log.info
    query = sorted({name for name, _ in QueryParams(scope["query_string"]).multi_items()})
    write(
        "request",
        method=scope["method"],
        path=f"{ANSWERS}…" if scope["path"].startswith(ANSWERS) else scope["path"],  # whoever has the link can answer
        query=query,
        status=status,
        **({"caller": caller.name} if caller else {}),
        milliseconds=round(seconds * 1000, 1),
    )
