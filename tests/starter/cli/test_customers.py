"""`commerce customers …`: its output and its exit codes."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

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


async def test_a_person_is_exported_and_forgotten(shop: RunningShop, commerce: Commerce) -> None:  # (A7)
    address = f"{uuid4().hex}@customer.example"
    for command in ("export", "forget"):
        unknown = await commerce("customers", command, address)
        assert unknown.code == 1 and "Nothing is stored about this e-mail address" in unknown.err
    cart = (
        "INSERT INTO carts (id, email, currency, created_at, updated_at) VALUES ('C1', :address, 'GBP', now(), now())"
    )
    await shop.data.sql(cart, address=address)
    exported = await commerce("customers", "export", address.upper())
    assert (exported.code, exported.json["carts"][0]["id"]) == (0, "C1")
    done = await commerce("customers", "forget", address, "--json")
    assert (done.code, done.json["carts"]) == (0, 1)
    assert await shop.data.sql("SELECT count(*) FROM carts") == [0]
