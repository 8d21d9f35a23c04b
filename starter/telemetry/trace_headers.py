"""A Temporal header that carries the trace to runs, steps and child processes; it holds ids only, unencrypted."""

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.trace import SpanContext
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from commerce.telemetry import trace_context
from commerce.telemetry.trace_context import TRACEPARENT

HEADER = "_tracer-data"  # the header of Temporal's own tracing, in every language
UNENCRYPTED = PayloadConverter.default
MAX_CACHED = 1_000  # headers

Headers = Mapping[str, Payload]


def with_parent(span: SpanContext, headers: Headers) -> Headers:
    """Return these headers with this span as the parent."""
    return {**headers, HEADER: _payload(trace_context.format_traceparent(span))}


def current_trace_headers() -> Headers:
    """Return headers with the current span as the parent; none if there is no current span."""
    current = trace.get_current_span().get_span_context()
    return with_parent(current, {}) if current.is_valid else {}


@lru_cache(MAX_CACHED)  # a run sends the same header to all of its steps
def _payload(traceparent: str) -> Payload:
    return UNENCRYPTED.to_payload({TRACEPARENT: traceparent})


def read_parent(headers: Headers) -> SpanContext:
    """Return the parent span from the headers; an invalid one if they name none or are malformed."""
    try:
        return trace_context.parse_traceparent(UNENCRYPTED.from_payload(headers[HEADER])[TRACEPARENT])
    except Exception:  # noqa: BLE001 - any client can send any header, and none may block a process
        return trace_context.parse_traceparent(None)
