"""Gives every request an id, the log one line of it, and the metrics its time."""

import re
import time
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from commerce.telemetry.metrics import HTTP_DURATION
from starter.api.errors import REQUEST_ID
from starter.api.metrics import exporter
from starter.telemetry.metrics import create_histogram

SANE = re.compile(r"[A-Za-z0-9._:-]{1,100}")
PROBES = ("/health/", "/metrics")  # asked every few seconds
BROKEN = 500  # what a request is answered with that raised
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # a caller may make up others without end

log = structlog.stdlib.get_logger("commerce.api.requests")


class Requests:
    """Names requests as their callers do, or else by a new id, which is in the answer and on every line of the log."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request as the app does, and tell what became of it."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if SANE.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # It stays bound: the server tells of what was raised after this, and each request is a task of its own.
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status, began = BROKEN, time.perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = int(message["status"])
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        finally:
            seconds = time.perf_counter() - began
            _measure(scope, status, seconds)
            _tell(scope, status, seconds)


def _measure(scope: Scope, status: int, seconds: float) -> None:
    """Record the time by the route's pattern, for a path may name an order; a stream is recorded when it ends."""
    labels = {
        "method": scope["method"] if scope["method"] in METHODS else "other",
        "route": getattr(scope.get("route"), "path", "unmatched"),
        "status": str(status),
    }
    create_histogram(exporter().meter, HTTP_DURATION).record(seconds, labels)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    """Write the line; of the query it has no more than the names, for values may be personal."""
    say = log.debug if scope["path"].startswith(PROBES) else log.info
    query = sorted({name for name, _ in QueryParams(scope["query_string"]).multi_items()})
    say(
        "request",
        method=scope["method"],
        path=scope["path"],
        query=query,
        status=status,
        milliseconds=round(seconds * 1000, 1),
    )
