"""Where spans come from that no process has: requests to our API, SQL, and HTTP to the outside."""

import os
import re
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanContext, Status, StatusCode, TracerProvider
from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine import ExceptionContext

from commerce.telemetry.trace_context import W3C

UNWATCHED = "/health/,/metrics$"  # asked every few seconds
UNTOLD, OWN_METRICS = "OTEL_PYTHON_HTTPX_EXCLUDED_URLS", r"127\.0\.0\.1:\d+/metrics$"  # the API asks itself for them
NAMES = "OTEL_SEMCONV_STABILITY_OPT_IN"
BEGUN = "commerce.begun"
FAILED = Status(StatusCode.ERROR)
STATEMENTS = 1_000  # remembered
LONGEST = 200  # characters of a statement: which one it is, one sees by its beginning
VERB = re.compile(r"\s*(\w+)")
TABLE = re.compile(r"\b(?:(?:INTO|UPDATE)\s+(\w+)|FROM\s+(?:ONLY\s+)?([a-z_]\w*)\b(?!\s*\())", re.IGNORECASE)

Listeners = Mapping[str, Callable[..., Any]]


def instrument_api(app: FastAPI, provider: TracerProvider) -> None:
    """Make a span of every request but probes, within the trace that its caller names."""
    _settle()
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=UNWATCHED, exclude_spans=["receive", "send"]
    )


def instrument_http(provider: TracerProvider) -> None:
    """Make a span of every call by httpx, and tell its receiver of the trace."""
    _settle()
    os.environ.setdefault(UNTOLD, OWN_METRICS)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)


def _settle() -> None:
    os.environ.setdefault(NAMES, "http")  # today's names of attributes, not those of before 2023
    propagate.set_global_textmap(W3C)  # and no baggage, which could be anything


def instrument_sql(
    tell: Callable[[str, SpanContext, int, Mapping[str, str], Status], None],
) -> Listeners:
    """Tell of every statement that belongs to a span; SQLAlchemy's own, as BEGIN or a ping, are none.

    Returns what listens, by the names of SQLAlchemy's events.

    OpenTelemetry's own watcher also tells of each checkout from the pool, and takes several times as long.
    """

    def before(connection: Connection, *_: Any) -> None:
        if (span := trace.get_current_span()).is_recording():
            connection.info[BEGUN] = span.get_span_context(), time.time_ns()

    def after(connection: Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if begun := connection.info.pop(BEGUN, None):
            name, about = _described(statement)
            parent, began = begun
            tell(name, parent, began, about, Status())

    def failed(failure: ExceptionContext) -> None:
        begun = failure.connection.info.pop(BEGUN, None) if failure.connection else None
        if begun and failure.statement:
            name, about = _described(failure.statement)
            parent, began = begun
            tell(name, parent, began, {**about, "error.type": _kind(failure.original_exception)}, FAILED)

    listeners: dict[str, Callable[..., Any]] = {
        "before_cursor_execute": before,
        "after_cursor_execute": after,
        "handle_error": failed,
    }
    for name, listener in listeners.items():
        event.listen(Engine, name, listener)
    return listeners


def _kind(error: BaseException) -> str:
    """Return SQLSTATE, or the error's class when it has none; what it says may hold values."""
    return getattr(error, "sqlstate", None) or type(error).__name__


@lru_cache(STATEMENTS)
def _described(statement: str) -> tuple[str, Mapping[str, str]]:
    """Return a statement's name, like `SELECT orders`, and its text, which has no values: those are parameters."""
    verb, table = VERB.match(statement), TABLE.search(statement)
    name = " ".join(word for found in (verb, table) if found for word in found.groups() if word)
    text = " ".join(statement.split())[:LONGEST]
    return name or "SQL", {"db.system.name": "postgresql", "db.query.text": text}
