"""Fixtures: an empty shop, and filled shops of the oldest revision."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from commerce import migrations
from commerce.database import Database
from tests.commerce.migrations.old_shop import FILL, REVISIONS
from tests.commerce.shop import Shop
from tests.conftest import database_copy, run_sql
from tests.servers import PostgresServer, once_per_run

FILLED = "template_filled"


@pytest.fixture
def shop(database: Database) -> Shop:
    """An empty shop."""
    return Shop(database)


@pytest.fixture(scope="session")
async def filled_template(run_folder: Path, postgres_server: PostgresServer, admin: asyncpg.Connection) -> str:
    """The name of a database with a filled shop of the oldest revision, to be copied."""
    with once_per_run(run_folder, FILLED) as done:
        if not done.exists():
            await admin.execute(f"CREATE DATABASE {FILLED}")
            url = postgres_server.superuser_url(FILLED)
            await migrations.upgrade(url, REVISIONS[0])
            await run_sql(url, FILL)
            done.touch()
    return FILLED


@pytest.fixture
async def filled(
    postgres_server: PostgresServer, admin: asyncpg.Connection, filled_template: str
) -> AsyncIterator[str]:
    """The URL of a copy of the filled shop of the oldest revision, for the superuser."""
    async with database_copy(admin, filled_template) as name:
        yield postgres_server.superuser_url(name)
