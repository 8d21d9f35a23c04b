"""Test `forget-customer`, and the keyed ids of processes about an address, with a real worker (A7, A8)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError

from commerce.address_digests import AddressDigests
from commerce.errors import CustomerHasOpenOrders, RegistrationInProgress
from commerce.messages.customers import REGISTRATION_ID_PREFIX, registration_process_id
from commerce.messages.forgetting import FORGET_ID_PREFIX, ForgetCustomer
from starter.client import connect, register_customer, start, wait_for_result
from starter.entries import Registration
from tests.faults import Gate
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop

Person = dict[str, str]
KEY, OLD_KEY = "a-key-of-addresses-of-at-least-32-characters", "an-old-key-of-addresses-of-32-characters"
KEYS = {"COMMERCE_ADDRESS_KEYS": f"{KEY},{OLD_KEY}"}
DIGESTS = AddressDigests([KEY, OLD_KEY])


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, temporal_server: str) -> AsyncIterator[RunningShop]:
    """A shop with a key, without a worker."""
    keyed = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV, **KEYS})
    async with running_shop(tmp_path, database_url, keyed, **KEYS) as made:
        yield made


@pytest.fixture
def ann() -> Person:
    """A person whose processes no other test uses."""
    address = f"{uuid4().hex}@customer.example"
    return {"email": address, "password": "correct horse", "first_name": "Ann", "last_name": "Miller"}


def ids(ann: Person) -> list[str]:
    """Return the ids of a registration, the newest first: under the key, under the old key, without a key."""
    return DIGESTS.process_ids(REGISTRATION_ID_PREFIX, ann["email"])


async def forget(shop: RunningShop, address: str) -> Any:
    return await wait_for_result(await start(shop.client, "forget-customer", ForgetCustomer(email=address)))


async def start_registration(client: Client, ann: Person) -> Any:
    return await start(client, "customer-registration", Registration.model_validate(ann))


async def test_a_customer_is_forgotten_and_can_register_again(shop: RunningShop, ann: Person) -> None:  # (A7, A8)
    async with shop.worker():
        registered = await register_customer(shop.client, **ann)
        run = await start(shop.client, "forget-customer", ForgetCustomer(email=f" {ann['email'].upper()}"))
        assert run.id == DIGESTS.process_ids(FORGET_ID_PREFIX, ann["email"])[0]
        done = await wait_for_result(run)
        assert (done["customer_id"], done["mails"]) == (registered.customer.id, 1)
        assert await shop.data.sql("SELECT count(*) FROM customers WHERE email IS NOT NULL") == [0]
        assert (await forget(shop, ann["email"]))["customer_id"] is None  # again
        anew = await register_customer(shop.client, **ann)
        assert anew.customer.id != registered.customer.id
    kinds = [kind for kind, *_ in await shop.data.events()]
    assert kinds == ["customer.created", "customer.forgotten", "customer.created"]
    assert await shop.data.sql("SELECT registered_by FROM customers WHERE has_account") == [ids(ann)[0]]
    assert await shop.findings() == []


async def test_a_customer_with_an_open_order_is_not_forgotten(shop: RunningShop, ann: Person) -> None:  # (A7)
    await shop.data.order("1", MUG=1, columns={"email": ann["email"]})
    async with shop.worker():
        with pytest.raises(CustomerHasOpenOrders, match="first 1"):
            await forget(shop, ann["email"])
    assert await shop.data.events() == []


async def test_a_registration_under_way_does_not_outlive_the_request(shop: RunningShop, ann: Person) -> None:  # (A7)
    gate = Gate("create-auth-user")
    async with shop.worker([gate]):
        registering = await start_registration(shop.client, ann)
        await gate.reached.wait()
        await forget(shop, ann["email"])
        gate.opened.set()
        with pytest.raises(WorkflowFailureError):
            await registering.result()
    assert await shop.data.sql("SELECT email, has_account FROM customers") == [(None, False)]
    assert await shop.findings() == []


async def test_a_registration_that_runs_under_an_older_id_is_found(
    shop: RunningShop, client: Client, ann: Person
) -> None:  # (A8)
    plain = await start_registration(client, ann)
    assert plain.id == ids(ann)[2] == registration_process_id(ann["email"]) and len(set(ids(ann))) == 3
    with pytest.raises(RegistrationInProgress):
        await start_registration(shop.client, ann)
    async with shop.worker():
        assert (await plain.result())["email_sent"]
    assert await shop.findings() == []


async def test_what_a_registration_under_an_older_id_has_left_is_undone(
    shop: RunningShop, client: Client, ann: Person
) -> None:  # (A8)
    gate = Gate("create-auth-user")
    async with shop.worker([gate]):
        plain = await start_registration(client, ann)
        await gate.reached.wait()
        await plain.terminate()
        gate.opened.set()
    async with shop.worker():
        keyed = await start_registration(shop.client, ann)
        assert (keyed.id, (await keyed.result())["email_sent"]) == (ids(ann)[0], True)
    assert await shop.data.sql("SELECT email, has_account, registered_by FROM customers") == [
        (ann["email"], True, ids(ann)[0])
    ]
    assert await shop.findings() == []
