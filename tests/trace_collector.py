"""A trace collector: receives spans by OTLP over HTTP and shows how they form trees."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from starter.devstack.serving import serving

FAILED = trace_pb2.Status.STATUS_CODE_ERROR


@dataclass(frozen=True)
class Span:
    """A span as it was received. Ids are hexadecimal; `parent` is empty for a root."""

    trace_id: str
    id: str
    parent: str
    name: str
    service: str
    attributes: dict[str, Any]
    error: str | None

    @property
    def is_sql(self) -> bool:
        return "db.query.text" in self.attributes

    @property
    def is_http_call(self) -> bool:
        return "server.address" in self.attributes


class Trace:
    """The spans of one trace."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self.spans = list(spans)
        self._by_id = {span.id: span for span in self.spans}

    def roots(self) -> list[Span]:
        """Return the spans without a parent in this trace. A complete tree has one."""
        return [span for span in self.spans if span.parent not in self._by_id]

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def names(self) -> set[str]:
        return {span.name for span in self.spans}

    def path(self, span: Span) -> list[str]:
        """Return the names from the root down to this span."""
        parent = self._by_id.get(span.parent)
        return [*(self.path(parent) if parent else []), span.name]

    def children(self, span: Span) -> list[Span]:
        return [each for each in self.spans if each.parent == span.id]


class TraceCollector:
    """Stores request bodies and the spans in them."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: list[bytes] = []
        self.spans: list[Span] = []

    async def receive(self, request: Request) -> Response:
        body = await request.body()
        self.bodies.append(body)
        self.spans += _spans(ExportTraceServiceRequest.FromString(body))
        return Response()

    def trace_with(self, name: str, workflow_id: str) -> Trace | None:
        """Return the trace with a span of this name that belongs to this process."""
        ids = {
            s.trace_id for s in self.spans if s.name == name and s.attributes.get("temporalWorkflowID") == workflow_id
        }
        assert len(ids) <= 1, f"{name} of {workflow_id} is in {len(ids)} traces"
        return Trace(span for span in self.spans if span.trace_id in ids) if ids else None


@asynccontextmanager
async def trace_collector() -> AsyncIterator[TraceCollector]:
    """Run a collector on the loopback interface while the block runs."""
    collector, app = TraceCollector(), FastAPI()
    app.post("/v1/traces")(collector.receive)
    async with serving(app, 0) as url:
        collector.url = f"{url}/v1/traces"
        yield collector


def _spans(request: ExportTraceServiceRequest) -> Iterable[Span]:
    for resource in request.resource_spans:
        service = str(_values(resource.resource.attributes)["service.name"])
        for span in (span for scope in resource.scope_spans for span in scope.spans):
            error = span.status.message if span.status.code == FAILED else None
            assert not span.events, "events may hold messages and stack traces"
            yield Span(
                span.trace_id.hex(),
                span.span_id.hex(),
                span.parent_span_id.hex(),
                span.name,
                service,
                _values(span.attributes),
                error,
            )


def _values(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value") or "string_value") for each in attributes}
