"""The API's own metrics: open to all, by route and not by path, and no harm when they cannot be told."""

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.api.metrics import Exporter, exporter
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.scraping import Scrape
from tests.starter.api.calling import api, calling, dialling

DURATION = "commerce_http_request_duration_seconds_count"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


async def told(http: httpx.AsyncClient) -> Scrape:
    answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    return Scrape(answer.text)


async def counts(http: httpx.AsyncClient, **labels: str) -> float:
    return (await told(http)).value(DURATION, **labels)


@pytest.mark.parametrize(
    ("method", "path", "labels"),
    [
        ("GET", "/workflows/secret-order-1", {"route": "/workflows/{transaction_id}", "status": "404"}),
        ("DELETE", "/workflows", {"route": "/workflows", "status": "405"}),
        ("GET", "/no/such/thing", {"route": "unmatched", "status": "404"}),
        ("BREW", "/health/live", {"method": "other", "route": "/health/live", "status": "405"}),
    ],
)
async def test_a_request_counts_by_its_route_and_its_status(
    shop: RunningShop, method: str, path: str, labels: dict[str, str]
) -> None:
    async with calling(api(shop)) as http:
        before = await counts(http, **labels)
        await http.request(method, path)
        assert await counts(http, **labels) == before + 1
        assert "secret" not in (await http.get("/metrics")).text


async def test_a_stream_counts_when_it_ends(shop: RunningShop) -> None:
    await shop.data.stock("MUG", main=1)
    await shop.data.order("streamed", MUG=1)
    stream = {"route": "/workflows/{transaction_id}/events"}
    async with dialling(api(shop)) as http:
        before = await counts(http, **stream)
        handle = await shop.start("streamed")
        async with http.stream("GET", f"/workflows/{handle.id}/events") as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            assert await counts(http, **stream) == before

        async def counted() -> bool | None:
            return await counts(http, **stream) == before + 1 or None

        await until(counted)
    await handle.terminate()


async def test_it_shows_the_vitals_without_any_worker(shop: RunningShop) -> None:
    async with calling(api(shop)) as http:

        async def looked() -> bool | None:
            seen = await told(http)
            return seen.value("commerce_temporal_up") == seen.value("commerce_database_up") == 1 or None

        await until(looked)


async def test_it_is_open_and_answers_while_all_is_away() -> None:
    variables = {
        "COMMERCE_API_TOKENS": "a token of the shop",
        "COMMERCE_DATABASE_URL": "postgresql://commerce@127.0.0.1:1/x",
        "TEMPORAL_ADDRESS": "127.0.0.1:1",
        **ENCRYPTION_ENV,
    }
    async with calling(create_app(load_settings(variables), variables)) as http:

        async def looked() -> bool | None:
            shown = await told(http)
            up = {"commerce_database_up", "commerce_temporal_up"}
            return (up <= shown.names and not any(map(shown.value, up))) or None

        await until(looked)
        assert (await http.get("/workflows")).status_code == 401


async def test_when_they_are_not_at_hand_it_says_so_within_seconds(shop: RunningShop) -> None:
    app = api(shop)
    with socket.create_server(("127.0.0.1", 0)) as mute:  # it takes connections, and never answers
        silent = "{}:{}".format(*mute.getsockname())
        app.dependency_overrides[exporter] = lambda: Exporter(exporter().runtime, silent)
        async with calling(app) as http:
            answer = await http.get("/metrics")
    assert (answer.status_code, answer.json()) == (503, {"error": "The metrics cannot be told now"})
