"""Bounds what a client can occupy: time to send a request, bytes on the wire, and the number of open connections.

uvicorn has no such limits. `limit_concurrency` counts requests that have arrived, so connections that send nothing use
up the descriptors of the process. Its parser httptools reads a megabyte of one-byte chunks in a second on a busy
machine, h11 in 50. hypercorn, which uses h11, and granian did not finish within a minute, and neither limits the number
of connections.
"""

import asyncio
import logging
import resource
import time
from http import HTTPStatus
from typing import ClassVar

import structlog
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from commerce.errors import SettingsError
from starter.api.error_codes import ErrorCode
from starter.api.errors import Problem, body_too_large, error_response
from starter.api.limits import MAX_BODY_BYTES, MEBIBYTE, max_mebibytes

HEAD_SECONDS = 10.0  # for the request line and headers, from the connection or from a request's first byte
BODY_SECONDS = 60.0  # for the body: the largest one at 18 kB per second
STALL_SECONDS = 30.0  # for the client to accept what was sent
MAX_HEAD_BYTES = 64 * 1024
WIRE_FACTOR = 2  # a body with its chunk sizes may be so much larger than a body
MAX_WIRE_BYTES = WIRE_FACTOR * MAX_BODY_BYTES  # on most routes
MAX_PIPELINED = 16  # requests that were sent before the response to an earlier one
LINGER_SECONDS = 5.0  # after a refusal, for the client to read the response
RETRY_SECONDS = 5  # what a client is asked to wait when there are too many connections
CHECK_INTERVAL = 1.0  # seconds

OWN_DESCRIPTORS = 100  # for the database, Temporal, the log and the like
PROBE_CONNECTIONS = 16  # beyond the limit, for probes
MIN_CONNECTIONS = 16
MAX_BACKLOG = 64  # connections that asyncio accepts at once, before it is decided which of them stay
LOG_INTERVAL = 60.0  # seconds between two log lines about the same

PROBES = ("/health/", "/metrics")
INVALID_REQUEST = Problem(error="The request is not valid HTTP", code=ErrorCode.BadRequest)
HEAD_TOO_LARGE = Problem(error="The headers are larger than 64 KiB", code=ErrorCode.BadRequest)
TOO_SLOW = Problem(error="The body did not arrive in time", code=ErrorCode.RequestTimeout)
TOO_MANY = Problem(error="Too many open connections", code=ErrorCode.TooManyConnections)

log = structlog.stdlib.get_logger("commerce.api.connections")


class Limits:
    """The number of connections, and a log of refused and closed ones that a flood cannot fill."""

    def __init__(self, connections: int) -> None:
        """Allow this many connections, or fewer if the process may not open as many files; raises SettingsError."""
        allowed = _raise_descriptor_limit(connections)
        self.backlog = min(MAX_BACKLOG, allowed // 16)
        # Up to three times the backlog can be open between an accept and the closing of those beyond the limit.
        most = allowed - OWN_DESCRIPTORS - PROBE_CONNECTIONS - 3 * self.backlog
        if most < MIN_CONNECTIONS:
            raise SettingsError(
                f"The limit of open files is too low for the API: ulimit -n {allowed}; set at least 256"
            )
        self.connections = min(connections, most)
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def report(self, event: str) -> None:
        """Log an event, but the same one at most once a minute, with the number of those in between."""
        count = self._unlogged[event] = self._unlogged.get(event, 0) + 1
        now = time.monotonic()
        if now - self._logged_at.get(event, -LOG_INTERVAL) >= LOG_INTERVAL:
            self._logged_at[event], self._unlogged[event] = now, 0
            log.warning(event, count=count)


class OncePerMinute(logging.Filter):
    """Passes on warnings of a library to `Limits.report`, and the error that no descriptor is left."""

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self._limits = limits

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to log the record as it is."""
        message = record.getMessage().partition("\n")[0]
        if record.levelno != logging.WARNING and not message.startswith("socket.accept()"):
            return True
        self._limits.report(message)
        return False


def _raise_descriptor_limit(connections: int) -> int:
    """Let the process open enough files for these connections if it may; return how many it may open."""
    wanted = connections + OWN_DESCRIPTORS + PROBE_CONNECTIONS + 3 * MAX_BACKLOG
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return allowed


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's protocol with deadlines, and with limits of connections and bytes.

    At the limit of connections, a new one replaces the one that has waited longest for a request. If all are busy, a
    few more are accepted, for probes only.
    """

    limits: ClassVar[Limits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Accept the connection, or make room for it first."""
        super().connection_made(transport)
        self._since = self.loop.time()  # when the wait for a request or for its body started
        self._stalled_since: float | None = None  # when the client stopped reading
        self._in_body = False  # the headers have arrived, but not the whole body
        self._received = 0  # bytes of the current head, or of the current body with its chunk sizes
        self._max_mebibytes = 0  # of the current body
        self._refused_at: float | None = None
        self._check = self.loop.call_later(CHECK_INTERVAL, self._check_deadlines)
        if len(self.connections) > self.limits.connections:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop checking the deadlines."""
        self._check.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse the bytes, unless they belong to a request that was refused."""
        if self._refused_at is not None or self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)
        if self._in_body and self._received > WIRE_FACTOR * self._max_mebibytes * MEBIBYTE:
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, body_too_large(self._max_mebibytes))
        elif not self._in_body and self._received > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Start a request. Raises an error, which becomes the response 400, if too many requests wait already."""
        if len(self.pipeline) >= MAX_PIPELINED:
            raise ValueError("too many pipelined requests")
        self._since = self.loop.time()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Wait for the body from now on. Raises an error as `on_message_begin` does if the headers are too large."""
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > MAX_HEAD_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, HEAD_TOO_LARGE)
            raise ValueError("the headers are too large")
        super().on_headers_complete()
        self._since, self._in_body, self._received = self.loop.time(), True, 0
        self._max_mebibytes = max_mebibytes(self.scope["path"])

    def on_message_complete(self) -> None:
        """Wait for the response from now on."""
        super().on_message_complete()
        self._in_body, self._received = False, 0

    def on_response_complete(self) -> None:
        """Wait for the next request from now on, or for the rest of a body that the app did not read."""
        self._since = self.loop.time()
        super().on_response_complete()

    def pause_writing(self) -> None:
        """Wait for the client to read."""
        self._stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Continue to write."""
        self._stalled_since = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, with an error of our shape."""
        del msg
        self._refuse(HTTPStatus.BAD_REQUEST, INVALID_REQUEST)

    @property
    def _is_answering(self) -> bool:
        # None before the first request, though uvicorn's types deny it
        return self.cycle is not None and not self.cycle.response_complete  # type: ignore[redundant-expr]

    def _make_room(self) -> None:
        idle = [other for other in self.connections if isinstance(other, LimitedProtocol) and other._is_idle()]
        idle.remove(self)
        if idle:
            self.limits.report("too many connections: one that sent no request is closed")
            min(idle, key=lambda other: other._since)._abort()
        elif len(self.connections) > self.limits.connections + PROBE_CONNECTIONS:
            self.limits.report("too many connections: one is refused")
            self._abort()
        else:
            self.limits.report("too many connections: only probes are answered")
            self.app = _only_probes(self.app)

    def _is_idle(self) -> bool:
        return not (self._in_body or self._is_answering)

    def _abort(self) -> None:
        """Close the connection at once, without sending what is still buffered."""
        self.connections.discard(self)  # it no longer counts
        self.transport.abort()

    def _check_deadlines(self) -> None:
        self._check = self.loop.call_later(CHECK_INTERVAL, self._check_deadlines)
        now = self.loop.time()
        if self.transport.is_closing() and self._stalled_since is None:
            self._stalled_since = now
        if self._stalled_since is not None and now - self._stalled_since > STALL_SECONDS:
            self.limits.report("a connection is closed: its client does not read")
            self._abort()
        elif self.transport.is_closing():
            return
        elif self._refused_at is not None:
            if now - self._refused_at > LINGER_SECONDS:
                self.transport.close()
        elif self.pipeline:  # reading is paused
            self._since = now
        elif self._in_body:
            if now - self._since > BODY_SECONDS:
                self.limits.report("a connection is closed: the body of its request did not arrive in time")
                self._refuse(HTTPStatus.REQUEST_TIMEOUT, TOO_SLOW)
        elif not self._is_answering and now - self._since > HEAD_SECONDS:
            self.limits.report("a connection is closed: no request arrived in time")
            self.transport.close()

    def _refuse(self, status: HTTPStatus, problem: Problem) -> None:
        """Respond, unless a response has been started, and ignore everything else that the client sends; only once.

        The connection is closed a little later: with unread bytes, the client could lose the response.
        """
        if self._refused_at is not None:
            return
        self._refused_at = self.loop.time()
        self._unset_keepalive_if_required()
        if self._is_answering and (self.pipeline or not self._in_body):  # an earlier request is being answered
            self.transport.close()
            return
        if self._is_answering:
            is_answered = self.cycle.response_started
            self.cycle.disconnected = True  # the app does not wait for the rest, and sends nothing
            self.cycle.message_event.set()
        else:
            is_answered = self._in_body
        if not is_answered:
            self.transport.write(_raw_response(status, problem))
        self.transport.write_eof()
        self.flow.resume_reading()


def _only_probes(app: ASGIApp) -> ASGIApp:
    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith(PROBES):
            return await app(scope, receive, send)
        headers = {"Retry-After": str(RETRY_SECONDS), "Connection": "close"}
        return await error_response(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY, headers)(scope, receive, send)

    return respond


def _raw_response(status: HTTPStatus, problem: Problem) -> bytes:
    response = error_response(status, problem, {"Connection": "close"})
    head = b"".join(name + b": " + value + b"\r\n" for name, value in response.raw_headers)
    return f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() + head + b"\r\n" + bytes(response.body)


def limited_protocol(limits: Limits) -> type[LimitedProtocol]:
    """Return the protocol with these limits, for uvicorn's setting `http`."""
    return type("LimitedProtocol", (LimitedProtocol,), {"limits": limits})
