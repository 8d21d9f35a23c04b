"""Spans of libraries: requests to our API, SQL statements, and outgoing HTTP requests."""

import os
import re
from collections.abc import Callable, Mapping
from functools import lru_cache

from fastapi import FastAPI
from opentelemetry import propagate, trace
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.trace import SpanContext, Status, StatusCode, TracerProvider

from commerce.telemetry.trace_context import W3C
from commerce.transaction import observe_statements

EXCLUDED_PATHS = "/health/,/metrics$"  # requested every few seconds
EXCLUDED_URLS_VARIABLE = "OTEL_PYTHON_HTTPX_EXCLUDED_URLS"
OWN_METRICS = r"127\.0\.0\.1:\d+/metrics$"  # the API requests them from itself
ATTRIBUTE_NAMES_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
FAILED = Status(StatusCode.ERROR)
MAX_CACHED = 1_000  # statements
MAX_STATEMENT = 200  # characters, enough to recognize a statement
VERB = re.compile(r"\s*(\w+)")
TABLE = re.compile(r"\b(?:(?:INTO|UPDATE)\s+(\w+)|FROM\s+(?:ONLY\s+)?([a-z_]\w*)\b(?!\s*\())", re.IGNORECASE)


def instrument_api(app: FastAPI, provider: TracerProvider) -> None:
    """Record every request except probes, in the caller's trace if there is one."""
    _configure()
    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=provider, excluded_urls=EXCLUDED_PATHS, exclude_spans=["receive", "send"]
    )


def instrument_http(provider: TracerProvider) -> None:
    """Record every request made with httpx, and send the trace along with it."""
    _configure()
    os.environ.setdefault(EXCLUDED_URLS_VARIABLE, OWN_METRICS)
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)


def _configure() -> None:
    os.environ.setdefault(ATTRIBUTE_NAMES_VARIABLE, "http")  # today's attribute names, not those used before 2023
    propagate.set_global_textmap(W3C)  # without baggage, which may contain anything


def instrument_sql(record: Callable[[str, SpanContext, int, Mapping[str, str], Status], None]) -> Callable[[], None]:
    """Record every SQL statement of a transaction within a span; return a function that ends this."""

    def observe(statement: str, started_at: int, error: BaseException | None) -> None:
        if (span := trace.get_current_span()).is_recording():
            name, attributes = _describe(statement)
            if error is None:
                record(name, span.get_span_context(), started_at, attributes, Status())
            else:
                failed = {**attributes, "error.type": _error_type(error)}
                record(name, span.get_span_context(), started_at, failed, FAILED)

    return observe_statements(observe)


def _error_type(error: BaseException) -> str:
    """Return the SQLSTATE, or else the error's class; the message may contain values of the statement."""
    return getattr(error, "sqlstate", None) or type(error).__name__


@lru_cache(MAX_CACHED)
def _describe(statement: str) -> tuple[str, Mapping[str, str]]:
    """Return a span name like `SELECT orders`, and attributes with the statement's text, which has no values in it."""
    verb, table = VERB.match(statement), TABLE.search(statement)
    name = " ".join(word for found in (verb, table) if found for word in found.groups() if word)
    text = " ".join(statement.split())[:MAX_STATEMENT]
    return name or "SQL", {"db.system.name": "postgresql", "db.query.text": text}
