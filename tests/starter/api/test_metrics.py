"""The API's own metrics: public, labelled by route, and a 503 while they are unavailable."""

import socket

import httpx
import pytest

from commerce.settings import load_settings
from starter.api import metrics
from starter.api.app import create_app
from starter.api.metrics import Exporter, exporter
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop
from tests.scraping import Scrape
from tests.starter.api.api_client import create_api, in_process_client, network_client

DURATION = "commerce_http_request_duration_seconds_count"


async def scrape(http: httpx.AsyncClient) -> Scrape:
    response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(response.text)


async def count_requests(http: httpx.AsyncClient, **labels: str) -> float:
    return (await scrape(http)).value(DURATION, **labels)


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/workflows/secret-order-1", {"route": "/workflows/{transaction_id}", "status": "404"}),
        ("DELETE", "/workflows", {"route": "/workflows", "status": "405"}),
        ("GET", "/no/such/thing", {"route": "unmatched", "status": "404"}),
        ("BREW", "/health/live", {"method": "other", "route": "/health/live", "status": "405"}),
    ],
)
async def test_a_request_is_counted_by_route_and_status(
    shop: RunningShop, method: str, path: str, labels: dict[str, str]
) -> None:
    async with in_process_client(create_api(shop)) as http:
        before = await count_requests(http, **labels)
        await http.request(method, path)
        assert await count_requests(http, **labels) == before + 1
        assert "secret" not in (await http.get("/metrics")).text


async def test_a_stream_is_counted_when_it_ends(shop: RunningShop) -> None:
    await shop.data.order("streamed", MUG=1)
    stream = {"route": "/workflows/{transaction_id}/events"}
    async with network_client(create_api(shop)) as http:
        before = await count_requests(http, **stream)
        handle = await shop.start("streamed")
        async with http.stream("GET", f"/workflows/{handle.id}/events") as response:
            lines = response.aiter_lines()
            await anext(lines)
            assert await count_requests(http, **stream) == before

        async def is_counted() -> bool | None:
            return await count_requests(http, **stream) == before + 1 or None

        await until(is_counted)
    await handle.terminate()


async def test_it_shows_the_gauges_without_a_worker(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop)) as http:

        async def both_are_up() -> bool | None:
            metrics = await scrape(http)
            return metrics.value("commerce_temporal_up") == metrics.value("commerce_database_up") == 1 or None

        await until(both_are_up)


async def test_metrics_are_public_and_work_without_the_backends() -> None:
    variables = {
        "COMMERCE_API_TOKENS": "a token of the shop",
        "COMMERCE_DATABASE_URL": "postgresql://commerce@127.0.0.1:1/x",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        **ENCRYPTION_ENV,
    }
    async with in_process_client(create_app(load_settings(variables), variables)) as http:

        async def both_are_down() -> bool | None:
            metrics = await scrape(http)
            gauges = {"commerce_database_up", "commerce_temporal_up"}
            return (gauges <= metrics.names and not any(map(metrics.value, gauges))) or None

        await until(both_are_down)
        assert (await http.get("/workflows")).status_code == 401


async def test_an_exporter_that_does_not_answer_is_a_503_within_seconds(
    shop: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:  # it accepts connections and never sends anything
        address = "{}:{}".format(*server.getsockname())
        silent = Exporter(exporter().runtime, address)
        monkeypatch.setattr(metrics, "exporter", lambda: silent)
        async with in_process_client(create_api(shop)) as http:
            response = await http.get("/metrics")
    unavailable = {"error": "The metrics are unavailable", "code": "MetricsUnavailable"}
    assert (response.status_code, response.json()) == (503, unavailable)
