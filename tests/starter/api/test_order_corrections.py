"""`PATCH /orders/{order_id}`: what an operator changes, and what the source may still change (V11, V17)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from tests.faults import Gate
from tests.polling import until
from tests.running_shop import RunningShop, relaying, running_shop, wait_for_end
from tests.starter.api.api_client import create_api, in_process_client
from tests.starter.api.test_orders import ORDER
from tests.workflows.test_run_lifecycle import reached

CALLED = {"reason": "she called"}


@pytest.fixture
async def shop_and_http(
    tmp_path: Path, database_url: str, client: Client
) -> AsyncIterator[tuple[RunningShop, httpx.AsyncClient]]:
    async with running_shop(tmp_path, database_url, client) as shop, in_process_client(create_api(shop)) as http:
        await shop.data.stock("MUG", main=5)
        yield shop, http


async def test_v11_a_correction_stays_until_the_source_states_another_value(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient],
) -> None:
    shop, http = shop_and_http
    await http.put("/orders/1", json=ORDER)
    corrected = await http.patch("/orders/1001", json=CALLED | {"shipping_address": {"city": "Leeds", "phone": ""}})
    assert corrected.json() == {"order_id": "1", "changed": ["shipping_city"]}
    again = await http.put("/orders/1", json=ORDER | {"notes": "ring", "updated_at": "2026-03-03T12:00:00Z"})
    assert again.json()["changed"] == ["notes"]
    assert await shop.data.sql("SELECT shipping_city FROM orders") == ["Leeds"]
    shown = (await http.get("/orders/1")).json()
    assert (shown["corrected"], shown["actions"][0]["actor"]) == (["shipping_city"], "local")
    moved = ORDER | {"shipping_city": "York", "updated_at": "2026-03-04T12:00:00Z"}
    assert "shipping_city" in (await http.put("/orders/1", json=moved)).json()["changed"]
    assert (await http.get("/orders/1")).json()["corrected"] == []


async def test_v17_an_operator_stops_an_order_under_way_and_lets_it_go_on(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient],
) -> None:
    shop, http = shop_and_http
    await shop.data.order("held16", MUG=2)
    async with shop.worker([gate := Gate("complete-order")]), relaying(shop):
        handle = await shop.start("held16")
        await reached(gate)
        assert (await http.patch("/orders/held16", json=CALLED | {"hold": True})).status_code == 200
        gate.opened.set()
        await wait_for_end(handle)
        assert await shop.data.levels("MUG") == {"main": (5, 0)}
        assert (await http.get("/orders/held16")).json()["hold_reason"] == "operator"
        assert (await http.patch("/orders/held16", json=CALLED | {"hold": False})).status_code == 200
        async with asyncio.timeout(60):
            while (await http.get("/orders/held16")).json()["status"] != "fulfilled":  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.05)
    assert await shop.findings() == []


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"hold": True}, 422, "body.reason"),
        (CALLED, 422, "body"),
        (CALLED | {"hold": True, "shipping_method": "Express"}, 422, "body"),
        (CALLED | {"shipping_address": {}}, 422, "body"),
        (CALLED | {"shipping_address": {"country": "Atlantis"}}, 422, "body.shipping_address.country"),
        (CALLED | {"shipping_address": {"street": "x"}}, 422, "body.shipping_address.street"),
        (CALLED | {"shipping_method": "x" * 256}, 422, "body.shipping_method"),
        (CALLED | {"hold": False}, 409, None),
    ],
)
async def test_wrong_corrections_are_refused(
    shop_and_http: tuple[RunningShop, httpx.AsyncClient], body: dict[str, Any], status: int, field: str | None
) -> None:
    shop, http = shop_and_http
    await shop.data.order("1")
    refused = await http.patch("/orders/1", json=body)
    assert refused.status_code == status
    assert [problem["field"] for problem in refused.json().get("fields", [])] == ([field] if field else [])


async def test_a_fulfilled_order_is_cancelled(shop_and_http: tuple[RunningShop, httpx.AsyncClient]) -> None:
    shop, http = shop_and_http
    await shop.data.order("taken16", MUG=1)
    async with shop.worker():
        assert (await shop.process("taken16")).status == "fulfilled"
        started = await http.post("/orders/taken16/cancel", json=CALLED)
        assert started.json() == {"order_id": "taken16", "transaction_id": "cancel-order-taken16"}

        async def refund_is_noted() -> bool | None:
            noted = await http.post("/workflows/cancel-order-taken16/steps/refund-at-shop/success", json={})
            return noted.is_success or None  # until then the step does not wait yet

        await until(refund_is_noted)
        await shop.client.get_workflow_handle("cancel-order-taken16").result()
    shown = (await http.get("/orders/taken16")).json()
    assert shown["status"] == "cancelled"
    assert ("cancel-order", CALLED["reason"]) in [(each["action"], each["reason"]) for each in shown["actions"]]
    assert await shop.findings() == []
    assert (await http.post("/orders/none/cancel", json=CALLED)).status_code == 404
