"""What becomes of spans on their way to the collector: kept together, rid of what is personal, sent in batches."""

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from urllib.parse import urlsplit
from uuid import uuid4

import structlog
from fastapi import FastAPI
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import Decision, ParentBased, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from commerce.telemetry.redaction import redact_text
from starter.telemetry import library_spans

OURS = "commerce"
EXPORT_TIMEOUT = 5.0  # seconds for one batch, tries included
EVERY = 1_000  # milliseconds between batches: what a killed process has not sent is lost
QUEUE = 8_192  # spans that wait at most; more are dropped
HELD = 1_000  # spans of one step that are held back at most
TOLD_AGAIN = 60.0  # seconds before an absent collector is told of again
# What is kept of what libraries write into spans; the rest may be URLs, headers, addresses of clients, messages.
KEPT = frozenset({"http.request.method", "http.response.status_code", "http.route", "error.type"})
KEPT_OF_CALLS = KEPT | {"url.scheme", "server.address", "server.port"}

FINE = Status()

log = structlog.stdlib.get_logger("commerce.traces")


class SpanRecorder:
    """The traces of one process: where spans are made and what sends them."""

    def __init__(self, exporter: SpanExporter, service: str, *, sampled: float = 1.0) -> None:
        """Take the name that collectors know the process by, and the part of all traces to keep that begin here."""
        self._ratio = TraceIdRatioBased(sampled)
        self._resource = Resource.create({"service.name": service, "service.instance.id": str(uuid4())})
        self._provider = TracerProvider(
            sampler=ParentBased(self._ratio), resource=self._resource, shutdown_on_exit=False
        )
        self._scope = InstrumentationScope(OURS)
        self._processor = _WholeSteps(exporter)
        self._provider.add_span_processor(self._processor)
        self.tracer = self._provider.get_tracer(OURS)

    def instrument_libraries(self) -> None:
        """Let SQL and outgoing HTTP be spans of whatever span they happen in."""
        library_spans.instrument_sql(self.tell_call)
        library_spans.instrument_http(self._provider)

    def instrument_api(self, app: FastAPI) -> None:
        """Let every request that this app answers be a span."""
        library_spans.instrument_api(app, self._provider)

    def span(self, name: str, kind: SpanKind, about: Mapping[str, str | int]) -> AbstractContextManager[trace.Span]:
        """Make a span that is the current one while the block lasts; of errors it is told by who knows what to say."""
        return self.tracer.start_as_current_span(
            name, kind=kind, attributes=about, record_exception=False, set_status_on_exception=False
        )

    def flags(self, trace_id: int) -> TraceFlags:
        """Return whether a trace that begins here is kept; the same for the same id."""
        kept = self._ratio.should_sample(None, trace_id, "").decision is Decision.RECORD_AND_SAMPLE
        return TraceFlags(TraceFlags.SAMPLED if kept else TraceFlags.DEFAULT)

    def tell(
        self,
        name: str,
        span: SpanContext,
        parent: SpanContext,
        began: int,
        about: Mapping[str, str],
        *,
        kind: SpanKind = SpanKind.SERVER,
        status: Status = FINE,
    ) -> None:
        """Tell of a span that ends now and began at this time (nanoseconds), under an id that was given out before."""
        self._processor.on_end(
            ReadableSpan(
                name,
                span,
                parent if parent.is_valid else None,
                self._resource,
                about,
                kind=kind,
                status=status,
                start_time=began,
                end_time=max(began, time.time_ns()),
                instrumentation_scope=self._scope,
            )
        )

    def tell_call(
        self, name: str, parent: SpanContext, began: int, about: Mapping[str, str], status: Status = FINE
    ) -> None:
        """Tell of a call that ends now and has nothing below it: for less than half of what other spans take."""
        span_id = self._provider.id_generator.generate_span_id()
        span = SpanContext(parent.trace_id, span_id, is_remote=False, trace_flags=parent.trace_flags)
        self.tell(name, span, parent, began, about, kind=SpanKind.CLIENT, status=status)

    def close(self, seconds: float) -> None:
        """Send what is left, unless that takes longer."""
        flushing = threading.Thread(target=self._provider.shutdown, daemon=True)
        flushing.start()
        flushing.join(seconds)


def failed(message: str) -> Status:
    """Return the state of a span that ended badly; it says no more than a log line would."""
    return Status(StatusCode.ERROR, redact_text(message))


def exporter(url: str) -> SpanExporter:
    """Return what sends spans by OTLP over HTTP."""
    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # several lines a second while the collector is away
    host = urlsplit(url).netloc.rpartition("@")[2]
    return RedactingExporter(OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT), host)


class RedactingExporter(SpanExporter):
    """Sends spans without what is not to leave the house, and tells now and then that nobody takes them."""

    def __init__(self, exporter: SpanExporter, collector: str) -> None:
        self._exporter, self._collector = exporter, collector
        self._silent_until = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send spans; never raises."""
        try:
            result = self._exporter.export([_clean(span) for span in spans])
        except Exception:  # noqa: BLE001 - whatever it is, it is told in one line
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.FAILURE and time.monotonic() > self._silent_until:
            self._silent_until = time.monotonic() + TOLD_AGAIN
            log.warning("traces are lost: their collector does not take them", collector=self._collector)
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()


class _WholeSteps(BatchSpanProcessor):
    """Holds the spans of a step, or of a request, until it ends: one that is killed leaves no parts without a whole."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter, max_queue_size=QUEUE, schedule_delay_millis=EVERY)
        self._wholes: dict[int, _Whole] = {}  # by the ids of their parts

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        above = span.parent and self._wholes.get(span.parent.span_id)
        whole = above or _Whole(span.context.span_id)
        whole.parts.add(span.context.span_id)
        self._wholes[span.context.span_id] = whole

    def on_end(self, span: ReadableSpan) -> None:
        own, above = span.context, span.parent
        whole = self._wholes.pop(own.span_id, None) or (above and self._wholes.get(above.span_id))
        for part in whole.with_part(span) if whole else [span]:
            super().on_end(part)
        if whole:
            whole.parts.discard(own.span_id)
        if whole and whole.top == own.span_id:
            for lost in whole.parts:
                self._wholes.pop(lost, None)


class _Whole:
    """A step or a request: the id of its own span, those of all its parts, and what is held back until it ends."""

    def __init__(self, top: int) -> None:
        self.top = top
        self.parts: set[int] = set()  # that have not ended
        self._held: list[ReadableSpan] | None = []

    def with_part(self, part: ReadableSpan) -> list[ReadableSpan]:
        """Take a part that ended; return those that may go on their way."""
        if (held := self._held) is None:
            return [part]
        held.append(part)
        if part.context.span_id != self.top and len(held) < HELD:
            return []
        self._held = None
        return held


def _clean(span: ReadableSpan) -> ReadableSpan:
    """Return what may leave the house of a span that a library made; we watch our own words."""
    if span.instrumentation_scope and span.instrumentation_scope.name == OURS:
        return span
    kept = KEPT_OF_CALLS if span.kind is SpanKind.CLIENT else KEPT
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        {name: value for name, value in (span.attributes or {}).items() if name in kept},
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
