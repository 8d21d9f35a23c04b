"""Customers are forgotten once and as a whole, although the worker is killed inside any step."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from commerce.messages.forgetting import ForgetCustomer
from starter.client import start
from starter.processes import PROCESS_TYPES
from tests.running_shop import RunningShop, running_shop
from tests.system.workers import worker_processes

pytestmark = pytest.mark.waits(15)

KEYS = {"COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters"}
POINTS = (
    "find-customer before",
    "find-customer after",
    "erase-customer before",
    "erase-customer after-erase",
    "erase-customer after",
)
DEADLINE = 120  # seconds


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client, **KEYS) as running:
        yield running


async def test_customers_are_forgotten_once_after_a_kill_inside_each_step(
    shop: RunningShop, tmp_path: Path
) -> None:  # (E11, A7)
    people = {point: ForgetCustomer(email=f"{uuid4().hex}@customer.example") for point in POINTS}
    ids = {point: PROCESS_TYPES["forget-customer"].id_for(person) for point, person in people.items()}
    for person in people.values():
        await shop.data.sql("INSERT INTO customers (email) VALUES (:email)", email=person.email)
    async with worker_processes(shop, tmp_path / "workers", **KEYS) as workers:
        first = await workers.start_pausing({ids[point]: point for point in POINTS})
        runs = [await start(shop.client, "forget-customer", person) for person in people.values()]
        await workers.wait_until_hanging(*ids.values())
        await first.kill()
        await workers.start()
        async with asyncio.timeout(DEADLINE):
            results = await asyncio.gather(*(run.result() for run in runs))
    assert all(result["customer_id"] for result in results)
    assert await shop.data.sql("SELECT count(*) FROM customers WHERE email IS NOT NULL") == [0]
    assert await shop.data.sql("SELECT count(*) FROM forgotten_addresses") == [len(POINTS)]
    assert [kind for kind, *_ in await shop.data.events()] == ["customer.forgotten"] * len(POINTS)
    assert await shop.findings() == []
