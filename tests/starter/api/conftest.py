"""Fixtures of the API tests: a running shop and a client of its API."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop
from tests.starter.api.api_client import create_api, in_process_client


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop without a worker, with 100 mugs in stock."""
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.stock("MUG", main=100)
        yield running


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop's API."""
    async with in_process_client(create_api(shop)) as client:
        yield client
