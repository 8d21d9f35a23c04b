"""Accounts: how guests become accounts, what an undo leaves, and who can log in (A1 to A5)."""

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest
from argon2 import PasswordHasher

from commerce import auth, customers, passwords
from commerce.errors import CustomerAlreadyExists
from commerce.messages.customers import CreatedCustomer, CustomerData, NewAuthUser
from tests.commerce.shop import Shop

pytestmark = pytest.mark.usefixtures("production_hashes")

ANN = CustomerData(email="ann@shop.example", first_name="Ann", last_name="Miller")
ROWS = "SELECT has_account, first_name, registered_at IS NOT NULL FROM customers"


async def create_account(shop: Shop, password_hash: str) -> str:
    created = await shop.call(customers.create, ANN)
    await shop.call(auth.create, NewAuthUser(customer_id=created.customer_id, password_hash=password_hash))
    return created.customer_id


async def test_an_address_has_one_account(shop: Shop) -> None:  # (A1)
    await shop.call(customers.create, ANN)
    with pytest.raises(CustomerAlreadyExists):
        await shop.call(customers.create, ANN)
    with pytest.raises(CustomerAlreadyExists):
        await shop.call(customers.find_registration, ANN.email, "another hash")


async def test_repeating_the_same_request_finds_its_registration(shop: Shop) -> None:
    assert await shop.call(customers.find_registration, ANN.email, "hash") is None
    customer_id = await create_account(shop, "hash")
    found = await shop.call(customers.find_registration, ANN.email, "hash")
    assert found is not None and found.customer_id == customer_id and not found.welcomed


async def test_one_of_two_concurrent_registrations_wins(shop: Shop) -> None:  # (A1)
    attempts: list[Awaitable[CreatedCustomer]] = [shop.call(customers.create, ANN) for _ in range(2)]
    answers = await asyncio.gather(*attempts, return_exceptions=True)
    assert sorted(type(answer).__name__ for answer in answers) == ["CreatedCustomer", "CustomerAlreadyExists"]


async def test_undoing_a_new_account_deletes_the_customer(shop: Shop) -> None:
    await shop.call(customers.delete, await shop.call(customers.create, ANN))
    assert await shop.sql(ROWS) == []


async def test_undoing_an_account_made_from_a_guest_restores_the_guest(shop: Shop) -> None:
    await shop.sql("INSERT INTO customers (email) VALUES (:email)", email=ANN.email)
    created = await shop.call(customers.create, ANN)
    assert created.was_guest and await shop.sql(ROWS) == [(True, "Ann", True)]
    await shop.call(customers.delete, created)
    assert await shop.sql(ROWS) == [(False, None, False)]


async def test_undoing_an_account_keeps_a_customer_who_has_ordered_since(shop: Shop) -> None:
    created = await shop.call(customers.create, ANN)
    await shop.order("1", columns={"customer_id": created.customer_id})
    await shop.call(customers.delete, created)
    assert await shop.sql(ROWS) == [(False, None, False)]


async def test_completing_twice_leaves_one_membership_one_event_and_one_mail(shop: Shop) -> None:  # (A5)
    created = await shop.call(customers.create, ANN)
    for _ in range(2):
        await shop.call(customers.complete_registration, created.customer_id)
    counts = """SELECT (SELECT count(*) FROM customer_group_members), (SELECT count(*) FROM customer_groups),
                       (SELECT count(*) FROM outbox_events), (SELECT count(*) FROM notifications)"""
    assert await shop.sql(counts) == [(1, 1, 1, 1)]
    await shop.call(customers.remove_from_group, created.customer_id)
    await shop.call(customers.remove_from_group, created.customer_id)
    assert await shop.sql("SELECT count(*) FROM customer_group_members") == [0]


async def test_only_the_right_password_returns_the_customer(shop: Shop) -> None:
    customer_id = await create_account(shop, await passwords.hash("correct horse"))
    assert await auth.verify_password(shop.database, " ANN@shop.example", "correct horse") == customer_id
    assert await auth.verify_password(shop.database, ANN.email, "wrong horse") is None
    assert await auth.verify_password(shop.database, "bob@shop.example", "correct horse") is None


@pytest.mark.parametrize("email", ["a" * 400_000, "a\u0301" * 40_000, "ann\0@shop.example", "\ud800@shop.example", ""])
async def test_malformed_addresses_match_no_customer(shop: Shop, email: str) -> None:
    assert await auth.verify_password(shop.database, email, "correct horse") is None


async def test_a_guest_cannot_log_in(shop: Shop) -> None:
    await shop.sql("INSERT INTO customers (email) VALUES (:email)", email=ANN.email)
    assert await auth.verify_password(shop.database, ANN.email, "correct horse") is None


async def test_a_weak_hash_is_replaced_at_login(shop: Shop) -> None:
    weak = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash("correct horse")
    customer_id = await create_account(shop, weak)
    hashes: Any = "SELECT password_hash FROM auth_users"
    assert await auth.verify_password(shop.database, ANN.email, "wrong horse") is None
    assert await shop.sql(hashes) == [weak]
    assert await auth.verify_password(shop.database, ANN.email, "correct horse") == customer_id
    [replaced] = await shop.sql(hashes)
    assert replaced != weak and not passwords.needs_rehash(replaced)
    assert await auth.verify_password(shop.database, ANN.email, "correct horse") == customer_id
