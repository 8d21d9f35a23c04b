"""Fixtures of the system tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop
from tests.system.workers import WorkerProcesses, worker_processes


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """An empty shop, unless the module has one of its own. The test starts the workers."""
    async with running_shop(tmp_path, database_url, client) as running:
        yield running


@pytest.fixture
def worker_settings() -> dict[str, str]:
    """What the settings of the workers have in addition to those of the shop, unless the module says otherwise."""
    return {}


@pytest.fixture
async def workers(shop: RunningShop, worker_settings: dict[str, str], tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    """Start worker processes for the shop; kill them when the test ends."""
    async with worker_processes(shop, tmp_path / "workers", **worker_settings) as processes:
        yield processes
