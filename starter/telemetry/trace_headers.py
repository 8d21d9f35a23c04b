"""How a trace goes on through Temporal: a header of starts, steps and child processes, in clear and with ids alone."""

from collections.abc import Mapping
from functools import lru_cache

from opentelemetry import trace
from opentelemetry.trace import SpanContext
from temporalio.api.common.v1 import Payload
from temporalio.converter import PayloadConverter

from commerce.telemetry import trace_context
from commerce.telemetry.trace_context import TRACEPARENT

HEADER = "_tracer-data"  # as Temporal's own tracing calls it, in every language
PLAIN = PayloadConverter.default
PARENTS = 1_000  # remembered

Headers = Mapping[str, Payload]


def with_parent(span: SpanContext, headers: Headers) -> Headers:
    """Return headers that name this span as the parent of what they go with."""
    return {**headers, HEADER: _payload(trace_context.format_traceparent(span))}


def current_trace_headers() -> Headers:
    """Return headers that name the span at work, if there is one."""
    here = trace.get_current_span().get_span_context()
    return with_parent(here, {}) if here.is_valid else {}


@lru_cache(PARENTS)  # a run names itself to each of its steps
def _payload(traceparent: str) -> Payload:
    return PLAIN.to_payload({TRACEPARENT: traceparent})


def read_parent(headers: Headers) -> SpanContext:
    """Return the parent that headers name; they may be written by anybody: it is invalid when they make no sense."""
    try:
        return trace_context.parse_traceparent(PLAIN.from_payload(headers[HEADER])[TRACEPARENT])
    except Exception:  # noqa: BLE001 - a process must not hang because of a header
        return trace_context.parse_traceparent(None)
