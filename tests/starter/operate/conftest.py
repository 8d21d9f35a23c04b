"""A running shop with mugs in stock, and orders for one of them."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.stock("MUG", main=100)
        yield made


@pytest.fixture
async def order_id(shop: RunningShop) -> str:
    """The id of an order that no other test uses."""
    return await place_order(shop)


async def place_order(shop: RunningShop) -> str:
    order_id = uuid4().hex
    await shop.data.order(order_id, MUG=1)
    return order_id
