"""Fixtures of the system tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running_shop import RunningShop
from tests.system.workers import WorkerProcesses, worker_processes


@pytest.fixture
async def workers(shop: RunningShop, tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    """Start worker processes for the module's `shop` fixture; kill them when the test ends."""
    async with worker_processes(shop, tmp_path / "workers") as processes:
        yield processes
