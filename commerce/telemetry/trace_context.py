"""Which trace the work at hand belongs to, as W3C's `traceparent` writes it: for the log, and for what outlives it."""

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry import context, trace
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import CarrierT, Getter, default_getter
from opentelemetry.trace import NonRecordingSpan, SpanContext
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

PROCESS = context.create_key("process")
TRACEPARENT = "traceparent"


class _Traceparent(TraceContextTextMapPropagator):
    """Reads and writes ids alone: what callers add in `tracestate` may be anything, and would go into each span."""

    def extract(
        self, carrier: CarrierT, context: Context | None = None, getter: Getter[CarrierT] = default_getter
    ) -> Context:
        span = trace.get_current_span(super().extract(carrier, Context(), getter)).get_span_context()
        if not span.is_valid:
            return context or Context()
        bare = SpanContext(span.trace_id, span.span_id, is_remote=True, trace_flags=span.trace_flags)
        return trace.set_span_in_context(NonRecordingSpan(bare), context)


W3C = _Traceparent()


def format_traceparent(span: SpanContext) -> str:
    """Return a span as `traceparent`."""
    headers: dict[str, str] = {}
    W3C.inject(headers, trace.set_span_in_context(NonRecordingSpan(span), Context()))
    return headers[TRACEPARENT]


def parse_traceparent(traceparent: str | None) -> SpanContext:
    """Return the span that a `traceparent` names; an invalid one for whatever else was given."""
    there = W3C.extract({TRACEPARENT: traceparent or ""}, Context())
    return trace.get_current_span(there).get_span_context()


def process_context(process: SpanContext) -> Context:
    """Return the context of a step of this process."""
    return context.set_value(PROCESS, process, trace.set_span_in_context(NonRecordingSpan(process), Context()))


def current_traceparent() -> str | None:
    """Return the `traceparent` for what is left behind here and taken up later; None without a trace.

    A step's is its process: the step itself may be killed and nobody hear of it, while the process goes on.
    """
    span = context.get_value(PROCESS)
    here = span if isinstance(span, SpanContext) and span.is_valid else trace.get_current_span().get_span_context()
    return format_traceparent(here) if here.is_valid else None


@contextmanager
def continue_trace(traceparent: str | None) -> Iterator[None]:
    """Let what happens in the block belong to the trace of what was left behind."""
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(parse_traceparent(traceparent)), Context()))
    try:
        yield
    finally:
        context.detach(token)


def current_trace_id() -> str | None:
    """Return the id of the trace that is kept of the work at hand, as collectors show it."""
    here = trace.get_current_span().get_span_context()
    return f"{here.trace_id:032x}" if here.is_valid and here.trace_flags.sampled else None
