"""Fixtures: filled shops of the oldest revision."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from commerce import migrations
from starter.devstack import postgres
from tests.commerce.migrations.old_shop import FILL, REVISIONS, copy_of
from tests.conftest import run_sql


@pytest.fixture(scope="session")
async def filled_template(postgres_server: tuple[Path, int]) -> str:
    """The name of a database with a filled shop of the oldest revision, to be copied."""
    folder, port = postgres_server
    await run_sql(postgres.url(folder, port, "postgres"), "CREATE DATABASE filled")
    url = postgres.url(folder, port, "filled")
    await migrations.upgrade(url, REVISIONS[0])
    await run_sql(url, FILL)
    return "filled"


@pytest.fixture
async def filled(postgres_server: tuple[Path, int], filled_template: str) -> AsyncIterator[str]:
    """The URL of a copy of the filled shop of the oldest revision."""
    async with copy_of(filled_template, postgres_server) as url:
        yield url
