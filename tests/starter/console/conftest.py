"""Fixtures of the console's tests: a running shop, and people who are signed in to its console."""

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.running_shop import RunningShop
from tests.starter.api.api_client import create_api, in_process_client
from tests.starter.api.conftest import shop as shop
from tests.starter.console.console_client import TOKENS, Console


@pytest.fixture
async def http(shop: RunningShop) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shop's API, which has a token for each role."""
    async with in_process_client(create_api(shop, COMMERCE_API_TOKENS=TOKENS)) as client:
        yield client


@pytest.fixture
async def operator(http: httpx.AsyncClient) -> Console:
    """The console as an operator uses it."""
    return await Console(http).sign_in("operator")


@pytest.fixture
async def viewer(http: httpx.AsyncClient) -> Console:
    """The console as a viewer uses it."""
    return await Console(http).sign_in("viewer")
