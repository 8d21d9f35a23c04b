"""The current trace, as W3C `traceparent`: for logs, and for work that another process continues later."""

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
    """Reads and writes ids only. A caller's `tracestate` could hold anything and would end up in every span."""

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
    """Return a span's `traceparent`."""
    headers: dict[str, str] = {}
    W3C.inject(headers, trace.set_span_in_context(NonRecordingSpan(span), Context()))
    return headers[TRACEPARENT]


def parse_traceparent(traceparent: str | None) -> SpanContext:
    """Return the span that a `traceparent` names; an invalid span context for an invalid or missing one."""
    remote = W3C.extract({TRACEPARENT: traceparent or ""}, Context())
    return trace.get_current_span(remote).get_span_context()


def process_context(process: SpanContext) -> Context:
    """Return the context for a step of the process with this span."""
    return context.set_value(PROCESS, process, trace.set_span_in_context(NonRecordingSpan(process), Context()))


def current_traceparent() -> str | None:
    """Return the `traceparent` for work that is continued later; None without a trace.

    In a step it is the process's span, because the step's own span is lost if its worker is killed.
    """
    span = context.get_value(PROCESS)
    current = span if isinstance(span, SpanContext) and span.is_valid else trace.get_current_span().get_span_context()
    return format_traceparent(current) if current.is_valid else None


@contextmanager
def continue_trace(traceparent: str | None) -> Iterator[None]:
    """Continue the trace of a `traceparent` in the block."""
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(parse_traceparent(traceparent)), Context()))
    try:
        yield
    finally:
        context.detach(token)


def current_trace_id() -> str | None:
    """Return the id of the current trace in the collectors' format; None if it is not sampled."""
    span = trace.get_current_span().get_span_context()
    return f"{span.trace_id:032x}" if span.is_valid and span.trace_flags.sampled else None
