"""What Prometheus fetches of the API: Temporal's SDK serves it on a loopback port, and this route passes it on."""

import socket
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Annotated

import httpx
from fastapi import APIRouter, Depends, Response
from fastapi.responses import PlainTextResponse
from temporalio.common import MetricMeter
from temporalio.runtime import Runtime

from commerce.settings import SettingsError
from commerce.telemetry.metrics import HTTP_DURATION
from starter.api.errors import Answers, Problem, answer, documented
from starter.telemetry.metrics import create_runtime

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 2.0
TRIES = 5
NO_REST = httpx.Limits(max_keepalive_connections=0)  # a connection belongs to the event loop that made it
SILENT = "The metrics cannot be told now"
SHOWN = f"""# HELP {HTTP_DURATION.name} {HTTP_DURATION.help}
# TYPE {HTTP_DURATION.name} histogram
{HTTP_DURATION.name}_bucket{{method="GET",route="/workflows",status="200",le="0.005"}} 7
"""
ANSWERS: Answers = {
    200: {"description": "As Prometheus reads it", "content": {"text/plain": {"example": SHOWN}}},
    **documented(HTTPStatus.SERVICE_UNAVAILABLE, "They are not at hand", error=SILENT),
}

routes = APIRouter(tags=["metrics"])


def _asking() -> httpx.AsyncClient:
    return httpx.AsyncClient(timeout=ANSWER_SECONDS, limits=NO_REST, trust_env=False)


@dataclass(frozen=True)
class Exporter:
    """The runtime that measures this process, where it tells, and how it is asked."""

    runtime: Runtime
    address: str
    http: httpx.AsyncClient = field(default_factory=_asking)

    @property
    def meter(self) -> MetricMeter:
        """What measures."""
        return self.runtime.metric_meter


@cache
def exporter() -> Exporter:
    """Return the one of this process, begun when it is first asked for; raises OSError when there is no free port."""
    for _ in range(TRIES):
        address = f"{LOOPBACK}:{free_port()}"
        with suppress(SettingsError):  # somebody else took it meanwhile
            return Exporter(create_runtime(address), address)
    raise OSError("no free port for the metrics of the API")


@routes.get("/metrics", response_class=PlainTextResponse, responses=ANSWERS)
async def metrics(source: Annotated[Exporter, Depends(exporter)]) -> Response:
    """Tell what is measured here, in Prometheus' text format; no token is asked for."""
    try:
        told = (await source.http.get(f"http://{source.address}/metrics")).raise_for_status()
    except httpx.HTTPError:
        return answer(HTTPStatus.SERVICE_UNAVAILABLE, Problem(error=SILENT))
    return PlainTextResponse(told.content, media_type=told.headers["content-type"])


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
