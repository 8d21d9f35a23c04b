"""`GET /orders` and `GET /orders/{order_id}`: pages, filters, and an order with its runs."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client


@pytest.fixture
async def shop_and_http(
    tmp_path: Path, database_url: str, client: Client
) -> AsyncIterator[tuple[RunningShop, httpx.AsyncClient]]:
    async with running_shop(tmp_path, database_url, client) as shop, in_process_client(create_api(shop)) as http:
        yield shop, http


async def test_pages_of_orders_follow_one_another(shop_and_http: tuple[RunningShop, httpx.AsyncClient]) -> None:
    shop, http = shop_and_http
    for order_id in ("1", "2", "etsy~3"):
        await shop.data.order(order_id, columns={"shipping_name": "Ann Lee", "hold_reason": "failed: HighRisk"})
    query = {
        "limit": "2",
        "status": "on_hold",
        "hold_reason": "HighRisk",
        "search": "ann",
        "since": "2026-03-02T12:00Z",
    }
    first = await http.get("/orders", params=query)
    assert [(order["order_id"], order["customer"]) for order in first.json()["orders"]] == [
        ("etsy~3", "A… L…"),
        ("2", "A… L…"),
    ]
    assert first.headers["cache-control"] == "no-store"
    second = (await http.get("/orders", params=query | {"cursor": first.json()["next_cursor"]})).json()
    assert [order["order_id"] for order in second["orders"]] == ["1"] and second["next_cursor"] is None


@pytest.mark.parametrize(
    "query",
    [{"status": "new"}, {"limit": "0"}, {"cursor": "9"}, {"search": "\0"}, {"search": " "}, {"since": "2026-03-02"}],
)
async def test_wrong_parameters_are_named(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient], query: dict[str, str]
) -> None:
    response = await shop_and_http[1].get("/orders", params=query)
    assert response.status_code == 422
    assert response.json()["fields"][0]["field"] == f"query.{next(iter(query))}"


async def test_an_order_has_the_runs_of_its_process(shop_and_http: tuple[RunningShop, httpx.AsyncClient]) -> None:
    shop, http = shop_and_http
    await shop.data.order("etsy~run16", columns={"source": "etsy", "name": "#7", "name_key": "7"})
    handle = await shop.start("etsy~run16")

    async def runs() -> list[str] | None:
        order = (await http.get("/orders/etsy~7")).json()
        assert (order["order_id"], order["email"]) == ("etsy~run16", "ann@customer.example")
        return [run["run_id"] for run in order["runs"]] or None

    assert await until(runs) == [handle.first_execution_run_id]  # Temporal lists a new run after a second
    await handle.terminate()
    missing = await http.get("/orders/nothing16")
    assert (missing.status_code, missing.json()["code"]) == (404, "OrderNotFound")
