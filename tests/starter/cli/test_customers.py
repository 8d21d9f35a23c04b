"""`commerce customers …`: its output and its exit codes."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio.client import Client

from commerce.database import Database
from tests.running_shop import RunningShop, running_shop
from tests.starter.cli.conftest import Commerce

KEYS = {"COMMERCE_ADDRESS_KEYS": "a-key-of-addresses-of-at-least-32-characters"}


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, client: Client, temporal_settings: None, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[RunningShop]:
    """A shop with a key, which the commands use, with a worker."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    async with running_shop(tmp_path, database_url, client, **KEYS) as running, running.worker():
        yield running


async def test_customers_are_listed_masked_and_shown_in_clear(commerce: Commerce, database: Database) -> None:
    async with database.transaction() as tx:
        [found] = await tx.scalars(
            text("INSERT INTO customers (email, first_name) VALUES ('ann@customer.example', 'Ann') RETURNING id")
        )
    listed = await commerce("customers", "list", "--search", "ANN")
    assert listed.out.splitlines()[1].split() == [str(found), "a…@customer.example", "A…", "guest", "0"]
    assert (await commerce("customers", "list", "--clear", "--json")).json["customers"][0]["name"] == "Ann"
    assert (await commerce("customers", "list", "--search", "bob")).out == "No customers found\n"
    for reference in (str(found), "Ann@customer.example"):
        shown = await commerce("customers", "show", reference)
        assert "e-mail        ann@customer.example\n" in shown.out and "account       none\n" in shown.out
    assert (await commerce("customers", "show", "bob")).code == 1


async def test_a_person_is_exported_and_forgotten(shop: RunningShop, commerce: Commerce) -> None:  # (A7)
    address = f"{uuid4().hex}@customer.example"
    for command in ("export", "forget"):
        unknown = await commerce("customers", command, address)
        assert unknown.code == 1 and "Nothing is stored about this person" in unknown.err
    cart = (
        "INSERT INTO carts (id, email, currency, created_at, updated_at) VALUES ('C1', :address, 'GBP', now(), now())"
    )
    await shop.data.sql(cart, address=address)
    exported = await commerce("customers", "export", address.upper())
    assert (exported.code, exported.json["carts"][0]["id"]) == (0, "C1")
    done = await commerce("customers", "forget", address, "--json")
    assert (done.code, done.json["carts"]) == (0, 1)
    assert await shop.data.sql("SELECT count(*) FROM carts") == [0]
