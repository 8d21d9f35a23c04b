"""`/returns`: start a return, see it, and note what came back (R1, R3)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client

WHY = {"reason": "too small"}


@pytest.fixture
async def shop_and_http(
    tmp_path: Path, database_url: str, client: Client
) -> AsyncIterator[tuple[RunningShop, httpx.AsyncClient]]:
    async with running_shop(tmp_path, database_url, client) as shop, in_process_client(create_api(shop)) as http:
        await shop.data.stock("MUG", main=5)
        yield shop, http


async def test_goods_are_returned_over_http(shop_and_http: tuple[RunningShop, httpx.AsyncClient]) -> None:  # (R1, R3)
    shop, http = shop_and_http
    await shop.data.order("back15", MUG=2, columns={"total": 0})
    async with shop.worker():
        assert (await http.post("/orders/back15/returns", json=WHY)).json()["code"] == "OrderNotFulfilled"
        await shop.process("back15")
        body, key = WHY | {"items": [{"sku": "MUG", "quantity": 1}]}, {"Idempotency-Key": "a"}
        started = [await http.post("/orders/back15/returns", json=body, headers=key) for _ in range(2)]
        assert started[0].status_code == 202 and started[0].json() == started[1].json()
        return_id, process_id = started[0].json()["return_id"], started[0].json()["transaction_id"]

        async def waits() -> bool | None:
            return (await http.get(f"/workflows/{process_id}")).json()["waiting_for"] == "await-return" or None

        await until(waits)
        again = await http.post("/orders/back15/returns", json=body, headers=key)
        assert again.json() == started[0].json()
        receipt = {"items": [{"line": 1, "quantity": 2}]}
        wrong = await http.post(f"/returns/{return_id}/receipt", json=receipt)
        assert (wrong.status_code, wrong.json()["fields"][0]["field"]) == (422, "body.items.0.quantity")
        receipt["items"][0]["quantity"] = 1
        number = (await http.get(f"/returns/{return_id}")).json()["tracking_number"]
        for reference in (number, return_id):
            assert (await http.post(f"/returns/{reference}/receipt", json=receipt)).status_code == 200
        assert (await shop.client.get_workflow_handle(process_id).result())["status"] == "returned"
        other = await http.post(f"/returns/{return_id}/receipt", json={"everything": True})
        assert (other.status_code, other.json()["code"]) == (409, "AlreadyAnswered")
    shown = (await http.get("/orders/back15")).json()
    assert [(line["returned_quantity"], line["returning_quantity"]) for line in shown["lines"]] == [(1, 0)]
    assert [each["state"] for each in shown["returns"]] == ["completed"]
    assert {run["type"] for run in shown["runs"]} >= {"order-processing"}
    assert ("return-order", "too small") in [(each["action"], each["reason"]) for each in shown["actions"]]
    for url in ("/returns?state=completed", "/orders/back15/returns"):
        assert [each["return_id"] for each in (await http.get(url)).json()["returns"]] == [return_id]


@pytest.mark.parametrize(
    ("method", "url", "body", "status"),
    [
        ("POST", "/orders/none/returns", WHY, 404),
        ("POST", "/orders/1/returns", {"items": [{"quantity": 1}]}, 422),
        ("POST", "/orders/1/returns", {"items": [{"sku": "MUG", "line": 1, "quantity": 1}]}, 422),
        ("POST", "/orders/1/returns", {"items": [{"sku": "\0", "quantity": 1}]}, 422),
        ("GET", "/returns/none", None, 404),
        ("GET", "/returns?cursor=none", None, 422),
        ("POST", "/returns/none/receipt", {"everything": True}, 404),
        ("POST", "/returns/none/receipt", {}, 422),
        ("POST", "/returns/none/receipt", {"items": [{"sku": "MUG", "quantity": 1, "sellable": 2}]}, 422),
    ],
)
async def test_what_makes_no_sense_is_refused(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient], method: str, url: str, body: Any, status: int
) -> None:
    shop, http = shop_and_http
    await shop.data.order("1", MUG=1, columns={"fulfillment_status": "fulfilled"})
    response = await http.request(method, url, json=body)
    assert response.status_code == status, response.text
