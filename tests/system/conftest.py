"""Worker processes for the shop of a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.floor import Floor
from tests.system.workers import Crew, crew


@pytest.fixture
async def workers(shop: Floor, tmp_path: Path) -> AsyncIterator[Crew]:
    """Workers that end with the test; `shop` is each module's own."""
    async with crew(shop, tmp_path / "crew") as made:
        yield made
