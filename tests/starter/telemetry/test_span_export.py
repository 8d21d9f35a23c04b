"""Exported spans hold no personal data: only route, method and status of requests, no values of statements."""

from collections.abc import Iterator

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from sqlalchemy import text

from commerce.database import Database
from commerce.errors import DatabaseUnavailable, InvalidData
from commerce.settings import load_settings
from starter.api.app import create_app
from starter.telemetry import library_spans
from starter.telemetry.span_export import RedactingExporter
from starter.telemetry.span_recorder import SpanRecorder
from tests.keys import ENCRYPTION_ENV
from tests.starter.api.api_client import in_process_client

SECRET = "ann@customer.example"
CALLER_TRACEPARENT = f"00-{5:032x}-{7:016x}-01"
LEAKY_HEADERS = dict.fromkeys(("User-Agent", "X-Request-ID", "Cookie", "Authorization", "Baggage"), SECRET)


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def recorder(exporter: InMemorySpanExporter) -> Iterator[SpanRecorder]:
    made = SpanRecorder(RedactingExporter(exporter, "collector"), "test")
    yield made
    made.close(5)


@pytest.fixture
def instrumented(recorder: SpanRecorder) -> Iterator[SpanRecorder]:
    """A recorder that records SQL statements until the end of the test."""
    stop = library_spans.instrument_sql(recorder.record_call)
    yield recorder
    stop()


async def test_of_a_request_only_route_method_and_status_are_recorded(
    recorder: SpanRecorder, exporter: InMemorySpanExporter
) -> None:
    app = create_app(load_settings(ENCRYPTION_ENV), ENCRYPTION_ENV)
    recorder.instrument_api(app)
    async with in_process_client(app) as http:
        traced = {"traceparent": CALLER_TRACEPARENT, "tracestate": "zq=leak"}
        await http.get("/", headers=LEAKY_HEADERS | traced | {"Host": SECRET})  # refused: a foreign host
        for path in (f"/nobody/{SECRET}", f"/orders/{SECRET}?q={SECRET}", "/health/live", "/metrics"):
            await http.get(path, headers=LEAKY_HEADERS | traced)
        await http.put(f"/orders/{SECRET}", content=SECRET)
        await http.request(f"ANN-{SECRET.split('@')[0]}", f"/orders/{SECRET}")
    recorder.close(5)

    spans = exporter.get_finished_spans()
    assert [(span.name, (span.attributes or {})["http.response.status_code"]) for span in spans] == [
        ("GET", 403),
        ("GET", 404),
        ("GET /orders/{order_id}", 422),
        ("PUT /orders/{order_id}", 422),
        ("HTTP /orders/{order_id}", 405),
    ]
    assert [span.parent and span.parent.span_id for span in spans] == [7, 7, 7, None, None]
    sent = encode_spans(spans).SerializeToString().lower()
    assert not any(word in sent for word in (b"ann", b"customer.example", b"leak"))


async def test_statements_are_recorded_without_values_and_only_within_a_span(
    instrumented: SpanRecorder, exporter: InMemorySpanExporter, database: Database
) -> None:
    await database.ping()
    with instrumented.span("step", SpanKind.SERVER, {}):
        async with database.transaction() as tx:
            await tx.execute(text("UPDATE customers SET email = :email WHERE email = :email"), {"email": SECRET})
        with pytest.raises(InvalidData):
            async with database.transaction() as tx:
                await tx.execute(text("SELECT CAST(:email AS integer) FROM customers"), {"email": SECRET})
        with pytest.raises(DatabaseUnavailable):
            async with database.transaction() as tx:
                await tx.execute(text("INSERT INTO customers (nothing) VALUES (:email)"), {"email": SECRET})
    instrumented.close(5)

    recorded = [(span.name, dict(span.attributes or {}).get("error.type")) for span in exporter.get_finished_spans()]
    assert recorded == [
        ("UPDATE customers", None),
        ("SELECT customers", "22000"),
        ("INSERT customers", "42703"),
        ("step", None),
    ]
    assert SECRET.encode() not in encode_spans(exporter.get_finished_spans()).SerializeToString()


def test_a_step_with_very_many_statements_is_exported_before_it_ends(
    recorder: SpanRecorder, exporter: InMemorySpanExporter
) -> None:
    with recorder.span("step", SpanKind.SERVER, {}) as step:
        for _ in range(1_500):
            recorder.record_call("SELECT", step.get_span_context(), 1, {})
        recorder._provider.force_flush()
        assert len(exporter.get_finished_spans()) == 1_500
    recorder.close(5)
    assert exporter.get_finished_spans()[-1].name == "step"


def test_a_failing_exporter_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(InMemorySpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            raise ValueError(SECRET)

    exporter = RedactingExporter(Broken(), "collector.example:4318")
    assert [exporter.export([]) for _ in range(3)] == [SpanExportResult.FAILURE] * 3
    assert caplog.messages == ["traces are lost: the collector does not accept them"] and SECRET not in caplog.text
