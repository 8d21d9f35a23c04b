"""Export of spans to the collector: without personal data, and with one warning when the collector is unavailable."""

import logging
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

import structlog
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import SpanKind, Status

OUR_SCOPE = "commerce"
EXPORT_TIMEOUT = 5.0  # seconds for one batch, including retries
WARNING_INTERVAL = 60.0  # seconds between two warnings that the collector is unavailable
# The attributes that we export of spans made by libraries; the others may be URLs, headers, client addresses, messages.
EXPORTED_ATTRIBUTES = frozenset({"http.request.method", "http.response.status_code", "http.route", "error.type"})
EXPORTED_OF_CALLS = EXPORTED_ATTRIBUTES | {"url.scheme", "server.address", "server.port"}

log = structlog.stdlib.get_logger("commerce.traces")


def create_exporter(url: str) -> SpanExporter:
    """Create an exporter that sends spans to this URL, by OTLP over HTTP."""
    for name in ("opentelemetry.exporter", "opentelemetry.sdk._shared_internal", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # several lines a second while the collector is unavailable
    host = urlsplit(url).netloc.rpartition("@")[2]
    return RedactingExporter(OTLPSpanExporter(endpoint=url, timeout=EXPORT_TIMEOUT), host)


class RedactingExporter(SpanExporter):
    """Removes personal data and secrets from spans before export, and logs now and then that spans are being lost."""

    def __init__(self, exporter: SpanExporter, collector: str) -> None:
        self._exporter, self._collector = exporter, collector
        self._next_warning = 0.0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans; raises nothing."""
        try:
            result = self._exporter.export([_redact(span) for span in spans])
        except Exception:  # noqa: BLE001 - any error means that the spans are lost, which is logged below
            result = SpanExportResult.FAILURE
        if result is SpanExportResult.FAILURE and time.monotonic() > self._next_warning:
            self._next_warning = time.monotonic() + WARNING_INTERVAL
            log.warning("traces are lost: the collector does not accept them", collector=self._collector)
        return result

    def shutdown(self) -> None:
        """Close the exporter."""
        self._exporter.shutdown()


def _redact(span: ReadableSpan) -> ReadableSpan:
    """Return a span that a library made with harmless attributes only; our own spans are redacted when recorded."""
    if span.instrumentation_scope and span.instrumentation_scope.name == OUR_SCOPE:
        return span
    exported = EXPORTED_OF_CALLS if span.kind is SpanKind.CLIENT else EXPORTED_ATTRIBUTES
    return ReadableSpan(
        span.name,
        span.context,
        span.parent,
        span.resource,
        {name: value for name, value in (span.attributes or {}).items() if name in exported},
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
