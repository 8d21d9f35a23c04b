"""Transactions through a real PgBouncer in transaction mode, where each may get another connection of the server."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from commerce.database import Database
from commerce.errors import DatabaseUnavailable
from commerce.imports import import_orders
from tests.commerce.shop import Shop
from tests.pooler import NEEDS_PGBOUNCER, SERVER_CONNECTIONS, running_pooler
from tests.week import Week

pytestmark = NEEDS_PGBOUNCER

LIMITS = text(
    "SELECT current_setting('statement_timeout'), current_setting('idle_in_transaction_session_timeout'), "
    "current_setting('application_name')"
)
NAMED_STATEMENTS = text("SELECT count(*) FROM pg_prepared_statements")
PID = text("SELECT pg_backend_pid() AS pid")
POOLED_TRANSACTIONS = 60


@pytest.fixture
def pooler_url(tmp_path: Path, database_url: str) -> Iterator[str]:
    with running_pooler(tmp_path / "pooler", database_url) as url:
        yield url


@pytest.fixture
async def pooled(pooler_url: str, database_url: str) -> AsyncIterator[Database]:
    database = Database(pooler_url, direct_url=database_url)
    yield database
    await database.close()


@pytest.fixture
def shop(database: Database) -> Shop:
    """The same database, directly."""
    return Shop(database)


async def test_many_transactions_share_few_connections(pooled: Database) -> None:
    async def add(number: int) -> tuple[int, int, object]:
        async with pooled.transaction() as tx:
            pid = await tx.scalar(PID)
            await tx.execute(text("SELECT set_config('commerce.number', :number, true)"), {"number": str(number)})
            await asyncio.sleep(0)
            document = await tx.scalar(text("SELECT CAST(:document AS jsonb)"), {"document": f'{{"n": {number}}}'})
            kept = await tx.scalar(text("SELECT current_setting('commerce.number')"))
        return pid, int(kept), document

    results = await asyncio.gather(*map(add, range(POOLED_TRANSACTIONS)))
    assert [(number, document) for _, number, document in results] == [
        (number, {"n": number}) for number in range(POOLED_TRANSACTIONS)
    ]
    assert len({pid for pid, _, _ in results}) <= SERVER_CONNECTIONS


async def test_each_transaction_has_the_limits_and_leaves_none_behind(pooled: Database, shop: Shop) -> None:
    async with pooled.transaction() as tx:
        assert (await tx.execute(LIMITS)).one() == ("1min", "30s", "commerce")
        await tx.rollback()
        assert (await tx.execute(LIMITS)).one() == ("1min", "30s", "commerce")
        pid = await tx.scalar(PID)
    await shop.sql("SELECT pg_cancel_backend(:pid)", pid=pid)  # the connection is still there, and idle
    async with pooled.transaction() as tx:
        await tx.execute(text("COMMIT"))  # outside of a transaction, with the server's own limits
        assert (await tx.execute(LIMITS)).one()[:2] == ("0", "0")
        await tx.execute(text("BEGIN"))


async def test_statements_have_no_names(pooled: Database) -> None:
    async with pooled.transaction() as tx:
        for _ in range(3):
            assert await tx.scalar(NAMED_STATEMENTS) == 0


async def test_a_connection_of_the_server_that_is_lost_between_transactions_is_replaced(
    pooled: Database, shop: Shop
) -> None:
    async with pooled.transaction() as tx:
        pid = await tx.scalar(PID)
    await shop.sql("SELECT pg_terminate_backend(:pid, 60000)", pid=pid)
    async with pooled.transaction() as tx:
        assert await tx.scalar(PID) != pid


async def test_a_connection_lost_in_a_transaction_fails_it(pooled: Database, shop: Shop) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with pooled.transaction() as tx:
            await shop.sql("SELECT pg_terminate_backend(:pid, 60000)", pid=await tx.scalar(PID))
            await tx.scalar(PID)
    await pooled.ping()


async def test_imports_connect_directly(database_url: str, shop: Shop, week: Week) -> None:
    nowhere = make_url(database_url).set(port=1).render_as_string(hide_password=False)
    report = await import_orders(Database(nowhere, direct_url=database_url), [week.orders], currency="GBP")
    assert report.bad == [] and report.taken > 0
    assert await shop.sql("SELECT count(*) FROM orders") == [report.taken]


async def test_without_a_direct_url_a_pooler_is_refused_at_the_first_transaction(pooler_url: str) -> None:
    database = Database(pooler_url)
    with pytest.raises(DatabaseUnavailable, match=r"no connection to 127\.0\.0\.1:\d+ \(ProtocolViolationError\)"):
        await database.ping()
    await database.close()
