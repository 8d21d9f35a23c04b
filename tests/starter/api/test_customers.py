"""What a person may ask for over HTTP: an export, and to be forgotten."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
import structlog
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client

KEYS = {"COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters"}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client, **KEYS) as made:
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop, **KEYS)) as made:
        yield made


async def test_a_person_gets_their_data_and_is_forgotten(shop: RunningShop, http: httpx.AsyncClient) -> None:  # (A7)
    person = {"email": f"Ann-{uuid4().hex}@customer.example"}
    address = person["email"].lower()
    unknown = await http.post("/customers/export", json=person)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "CustomerNotFound")
    await shop.data.order("1", MUG=1, columns={"email": address, "shipping_name": "Ann Lee"})
    exported = await http.post("/customers/export", json=person)
    assert (exported.status_code, exported.json()["orders"][0]["shipping_name"]) == (200, "Ann Lee")
    with structlog.testing.capture_logs() as lines:
        async with shop.worker():
            refused = await http.post("/customers/forget", json=person)
            assert (refused.status_code, refused.json()["code"]) == (409, "CustomerHasOpenOrders")
            await shop.data.sql("UPDATE orders SET cancelled_at = now()")
            done = await http.post("/customers/forget", json=person)
            assert (done.status_code, done.json()["result"]["orders"]) == (200, 1)
            assert (await http.post("/customers/forget", json=person)).status_code == 200  # again
            unknown = await http.post("/customers/forget", json={"email": f"{uuid4().hex}@customer.example"})
            assert (unknown.status_code, unknown.json()["code"]) == (404, "CustomerNotFound")
    assert address not in repr(lines).lower() and address not in done.text
    assert (await http.post("/customers/export", json=person)).status_code == 404
    assert (await http.post("/customers/export", json={"email": ""})).status_code == 422
