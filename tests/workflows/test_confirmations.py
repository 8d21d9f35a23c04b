"""Registrations that wait until somebody proves that the address is theirs (A9)."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog
from temporalio.client import WorkflowHandle
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

from commerce import auth
from commerce.errors import CustomerAlreadyExists, SettingsError, Unanswered
from commerce.settings import UNPROVEN, load_settings
from starter.client import connect, start, wait_for_result
from starter.entries import Registration
from starter.operate.answers import deliver_answers
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client

SETTINGS = {
    "COMMERCE_CONFIRM_ADDRESS": "on",
    "COMMERCE_LINK_KEYS": "a-key-for-links-of-at-least-32-characters",
    "COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters",
    "COMMERCE_LINK_URL": "https://shop.example/api",
}
LINK = re.compile(r"https://shop\.example/api(/answers/\S+)")
PASSWORD, OTHER = "correct horse", "battery staple"


class ShortTime(Interceptor):
    """Lets registrations wait for half a second only."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _ShortTime


class _ShortTime(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The sandbox gives every run its own copy of this module; only that one is changed.
        module = sys.modules["workflows.customer_registration"]
        module.CONFIRM_TIME = timedelta(seconds=0.5)  # type: ignore[attr-defined]
        return await super().execute_workflow(input)


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, temporal_server: str) -> AsyncIterator[RunningShop]:
    client = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV, **SETTINGS})
    async with running_shop(tmp_path, database_url, client, **SETTINGS) as made:
        yield made


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    async with in_process_client(create_api(shop, **SETTINGS)) as made:
        yield made


@pytest.fixture
def address() -> str:
    return f"{uuid4().hex}@customer.example"


async def register(shop: RunningShop, address: str, password: str = PASSWORD) -> WorkflowHandle[Any, Any]:
    """Start a registration, and return when it waits."""
    person = {"email": address, "password": password, "first_name": "Ann", "last_name": "Lee"}
    handle = await start(shop.client, "customer-registration", Registration.model_validate(person))

    async def waits() -> bool | None:
        return (await handle.query("progress"))["state"] == "waiting" or None

    await until(waits)
    return handle


def links(shop: RunningShop) -> list[str]:
    texts = [mail.get_body(("plain",)) for mail in shop.mails("confirm-address")]
    return [link for text in texts if text is not None for link in LINK.findall(text.get_content())]


async def test_an_account_is_created_when_the_address_is_proven(
    shop: RunningShop, http: httpx.AsyncClient, address: str
) -> None:  # (A9)
    await shop.data.sql("INSERT INTO customers (email) VALUES (:a)", a=address)
    with structlog.testing.capture_logs() as lines:
        async with shop.worker():
            run = await register(shop, address)
            assert await shop.data.sql("SELECT has_account FROM customers") == [False]
            assert await shop.data.sql("SELECT 1 FROM step_ledger WHERE CAST(call AS text) LIKE '%argon2%'") == []
            [link] = links(shop)
            shown = await http.get(link)
            assert shown.status_code == 200 and 'type="password"' in shown.text and address not in shown.text
            wrong = await http.post(link, data={"password": OTHER})
            assert (wrong.status_code, "No registration" in wrong.text) == (422, True)
            assert (await http.post(link, data={"password": PASSWORD})).status_code == 200
            assert (await run.result())["email_sent"]
    assert await auth.verify_password(shop.database, address, PASSWORD)
    assert await shop.data.sql("SELECT count(*) FROM pending_registrations") == [0]
    assert (await http.post(link, data={"password": PASSWORD})).status_code == 422  # it no longer waits
    assert PASSWORD not in repr(lines) and await shop.findings() == []


async def test_nobody_blocks_or_takes_another_persons_address(
    shop: RunningShop, http: httpx.AsyncClient, address: str
) -> None:  # (A9)
    """Whoever knows the address asks first, and as often as mails are sent in a day."""
    async with shop.worker():
        foreign = [await register(shop, address, OTHER) for _ in range(3)]
        assert len(links(shop)) == 3
        own = await register(shop, address)
        assert len(links(shop)) == 3  # no more mails, but each link works for each registration
        for link in links(shop)[:1]:
            assert (await http.post(link, data={"password": PASSWORD})).status_code == 200
        await own.result()
        assert (await http.post(link, data={"password": OTHER})).status_code == 200  # of a registration that waits
        with pytest.raises(CustomerAlreadyExists):
            await wait_for_result(foreign[-1])
        for run in foreign[:-1]:
            await run.terminate()
    assert await auth.verify_password(shop.database, address, PASSWORD)
    assert not await auth.verify_password(shop.database, address, OTHER)


async def test_an_address_that_is_not_proven_in_time_leaves_nothing(shop: RunningShop, address: str) -> None:  # (A9)
    async with shop.worker([ShortTime()]):
        person = {"email": address, "password": PASSWORD, "first_name": "Ann", "last_name": "Lee"}
        handle = await start(shop.client, "customer-registration", Registration.model_validate(person))
        with pytest.raises(Unanswered):
            await wait_for_result(handle)
    for table in ("customers", "auth_users", "pending_registrations", "outbox_events"):
        assert await shop.data.sql(f"SELECT count(*) FROM {table}") == [0], table
    assert await shop.findings() == []


async def test_without_a_worker_a_proof_counts_as_well(
    shop: RunningShop, http: httpx.AsyncClient, address: str
) -> None:  # (A9, W2)
    async with shop.worker():
        run = await register(shop, address)
    assert (await http.post(links(shop)[0], data={"password": PASSWORD})).status_code == 200
    await shop.data.sql("UPDATE step_waits SET answered_at = answered_at - interval '1 minute'")
    async with shop.worker():
        result = asyncio.create_task(run.result())

        async def delivered() -> bool | None:
            await deliver_answers(shop.client, shop.database)
            return result.done() or None

        await until(delivered)
        assert (await result)["group_assigned"]


def test_addresses_that_need_no_proof_are_warned_of_where_others_reach_the_shop() -> None:  # (A9)
    assert load_settings({}).warnings == []
    assert load_settings({"COMMERCE_API_HOST": "0.0.0.0"}).warnings == [UNPROVEN]
    assert load_settings({"COMMERCE_API_HOST": "0.0.0.0"} | SETTINGS).warnings == []
    with pytest.raises(SettingsError, match="needs COMMERCE_LINK_KEYS"):
        load_settings({"COMMERCE_CONFIRM_ADDRESS": "on"})
