"""The API's metrics for Prometheus: Temporal's SDK serves them on a loopback port; this route forwards them."""

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus

import httpx
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime

from commerce.errors import SettingsError
from commerce.integrations import capped_http
from commerce.integrations.tls import tls_context
from commerce.telemetry.metrics import HTTP_DURATION
from starter.api.error_codes import ErrorCode
from starter.api.errors import Problem, Responses, error_examples, error_response
from starter.telemetry.metrics import create_runtime

LOOPBACK = "127.0.0.1"
TIMEOUT = 2.0  # seconds
TRIES = 5
MAX_METRICS_BYTES = 16 * 1024 * 1024
NO_KEEPALIVE = httpx.Limits(max_keepalive_connections=0)  # a connection is bound to the event loop that opened it
UNAVAILABLE = Problem(error="The metrics are unavailable", code=ErrorCode.MetricsUnavailable)
EXAMPLE = f"""# HELP {HTTP_DURATION.name} {HTTP_DURATION.help}
# TYPE {HTTP_DURATION.name} histogram
{HTTP_DURATION.name}_bucket{{method="GET",route="/workflows",status="200",le="0.005"}} 7
"""
RESPONSES: Responses = {
    200: {"description": "Metrics in Prometheus text format", "content": {"text/plain": {"example": EXAMPLE}}},
    **error_examples(HTTPStatus.SERVICE_UNAVAILABLE, "The metrics are unavailable", UNAVAILABLE),
}

routes = APIRouter(tags=["metrics"])


def _http_client() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=TIMEOUT, limits=NO_KEEPALIVE, trust_env=False, verify=tls_context())


@dataclass(frozen=True)
class Exporter:
    """The runtime that collects the metrics of this process, and the address that serves them."""

    runtime: Runtime
    address: str
    http: httpx.AsyncClient = field(default_factory=_http_client)

    @property
    def meter(self) -> MetricMeter:
        """The meter that records metrics."""
        return self.runtime.metric_meter


@cache
def exporter() -> Exporter:
    """Return the exporter of this process, started on the first call; raises OSError if no port is free."""
    for _ in range(TRIES):
        address = f"{LOOPBACK}:{free_port()}"
        with suppress(SettingsError):  # another program took the port meanwhile
            return Exporter(create_runtime(address), address)
    raise OSError("no free port for the API's metrics")


@routes.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse, responses=RESPONSES)
async def get_metrics() -> Response:
    """Return the metrics of the API process in Prometheus text format. No token is needed."""
    source = exporter()
    try:
        response = await capped_http.send(
            source.http, "GET", f"http://{source.address}/metrics", max_bytes=MAX_METRICS_BYTES
        )
    except httpx.HTTPError:
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, UNAVAILABLE)
    if not response.is_success:
        return error_response(HTTPStatus.SERVICE_UNAVAILABLE, UNAVAILABLE)
    return PlainTextResponse(response.content, media_type=response.headers["content-type"])


def free_port() -> int:
    """Return a port of the loopback interface that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
