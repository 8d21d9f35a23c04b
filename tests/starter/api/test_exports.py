"""`GET /exports/fulfillments` returns what was shipped, page by page: I15."""

import csv
import io
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from commerce import fulfillment, inventory, orders
from tests.commerce.shop import Shop
from tests.running_shop import running_shop
from tests.starter.api.api_client import create_api, in_process_client


@pytest.fixture
async def shop_and_http(
    tmp_path: Path, database_url: str, client: Client
) -> AsyncIterator[tuple[Shop, httpx.AsyncClient]]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=9)
        async with in_process_client(create_api(made)) as http:
            yield made.data, http


async def test_i15_pages_follow_one_another(shop_and_http: tuple[Shop, httpx.AsyncClient]) -> None:
    shop, http = shop_and_http
    for order_id in "123":
        await shop.order(order_id, MUG=1)
        await shop.call(inventory.reserve, order_id)
        await shop.call(fulfillment.create, order_id)
        await shop.call(orders.complete, order_id)
    found, since = [], "0"
    while True:
        response = await http.get("/exports/fulfillments", params={"since": since, "limit": 2})
        assert (response.status_code, response.headers["content-type"]) == (200, "text/csv; charset=utf-8")
        rows = list(csv.DictReader(io.StringIO(response.text, newline="")))
        if not rows:
            break
        found += [row["Name"] for row in rows]
        since = response.headers["commerce-next-since"]
    assert (found, since) == (["1", "2", "3"], "3")
    response = await http.get("/exports/fulfillments", params={"format": "woocommerce", "since": 2})
    assert response.text.splitlines()[1].startswith("3,,,")
    await shop.sql("UPDATE orders SET source = 'etsy' WHERE id = '2'")
    response = await http.get("/exports/fulfillments", params={"source": "etsy"})
    assert [line.split(",")[0] for line in response.text.splitlines()[1:]] == ["2"]
    assert response.headers["commerce-next-since"] == "2"


@pytest.mark.parametrize(
    "query",
    [{"since": "-1"}, {"since": "2026-03-02"}, {"limit": "0"}, {"format": "xml"}, {"source": "a b"}, {"since": "1"}],
)
async def test_wrong_parameters_are_named(shop_and_http: tuple[Shop, httpx.AsyncClient], query: dict[str, str]) -> None:
    response = await shop_and_http[1].get("/exports/fulfillments", params=query)
    assert response.status_code == 422
    assert response.json()["fields"][0]["field"] == f"query.{next(iter(query))}"
