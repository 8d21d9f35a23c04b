"""Worker processes for the shop of a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.running_shop import RunningShop
from tests.system.workers import WorkerProcesses, worker_processes


@pytest.fixture
async def workers(shop: RunningShop, tmp_path: Path) -> AsyncIterator[WorkerProcesses]:
    """Workers that end with the test; `shop` is each module's own."""
    async with worker_processes(shop, tmp_path / "workers") as made:
        yield made
