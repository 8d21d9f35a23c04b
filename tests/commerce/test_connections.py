"""Connections that are cut: before the first answer they are replaced silently, later the transaction fails."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy import text

from commerce.database import Database
from commerce.errors import ConstraintViolated, DatabaseUnavailable
from commerce.postgres import Pool
from tests.commerce.shop import Shop
from tests.polling import until

PID = text("SELECT pg_backend_pid() AS pid")
ADD = "INSERT INTO customers (email) VALUES ('ann@customer.example')"
SLEEPING = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
WAIT = """
    CREATE FUNCTION wait_a_moment() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(60); RETURN NULL; END $$
"""
DELAY_COMMIT = """
    CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON customers DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION wait_a_moment()
"""


@pytest.fixture
async def one(database_url: str) -> AsyncIterator[Database]:
    """A database with a single connection."""
    database = Database(database_url, pool_size=1)
    yield database
    await database.close()


@pytest.fixture
def shop(database: Database) -> Shop:
    """The same database through other connections."""
    return Shop(database)


async def pid_of(database: Database) -> int:
    async with database.transaction() as tx:
        return (await tx.execute(PID)).scalar_one()


async def terminate(shop: Shop, pid: int) -> None:
    """End a connection, and wait until its process is gone."""
    await shop.sql("SELECT pg_terminate_backend(:pid, 60000)", pid=pid)


async def is_sleeping(shop: Shop) -> bool | None:
    return bool(await shop.sql(SLEEPING)) or None


async def test_a_connection_is_kept_for_the_next_transaction(one: Database) -> None:
    assert await pid_of(one) == await pid_of(one)


async def test_a_connection_lost_between_transactions_is_replaced(one: Database, shop: Shop) -> None:
    lost = await pid_of(one)
    await terminate(shop, lost)
    assert await pid_of(one) != lost


async def test_a_connection_whose_loss_shows_at_begin_is_replaced(
    one: Database, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = await pid_of(one)
    await terminate(shop, lost)
    monkeypatch.setattr(asyncpg.Connection, "is_closed", lambda _: False)  # as if the driver had not noticed yet
    assert await pid_of(one) != lost


async def test_connections_of_a_server_that_is_silent_are_replaced_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[asyncpg.Connection] = []
    has_begun = Pool._has_begun

    async def count(pool: Pool, connection: asyncpg.Connection) -> bool:
        asked.append(connection)
        return await has_begun(pool, connection)

    async with database.transaction() as first, database.transaction() as second:
        silent = {(await tx.execute(PID)).scalar_one() for tx in (first, second)}
    monkeypatch.setattr(Pool, "_has_begun", count)
    for pid in silent:
        os.kill(pid, signal.SIGSTOP)
    try:
        assert await pid_of(database) not in silent
        assert len(asked) == 1
        assert await pid_of(database) not in silent
    finally:
        for pid in silent:
            os.kill(pid, signal.SIGCONT)


async def test_a_connection_lost_within_a_transaction_fails_it(one: Database, shop: Shop) -> None:
    with pytest.raises(DatabaseUnavailable):
        async with one.transaction() as tx:
            await tx.execute(text(ADD))
            await terminate(shop, (await tx.execute(PID)).scalar_one())
            await tx.execute(PID)
    assert await shop.sql("SELECT email FROM customers") == []
    assert await pid_of(one)


async def test_a_connection_lost_during_the_commit_fails_it_and_nothing_is_repeated(one: Database, shop: Shop) -> None:
    await shop.owner_sql(WAIT)
    await shop.owner_sql(DELAY_COMMIT)
    entered = 0

    async def add() -> None:
        nonlocal entered
        async with one.transaction() as tx:
            entered += 1
            pids.append((await tx.execute(PID)).scalar_one())
            await tx.execute(text(ADD))

    pids: list[int] = []
    adding = asyncio.create_task(add())
    await until(lambda: is_sleeping(shop))
    await terminate(shop, pids[0])
    with pytest.raises(DatabaseUnavailable):
        await adding
    assert entered == 1
    assert await shop.sql("SELECT email FROM customers") == []


async def test_a_cancelled_transaction_is_rolled_back_and_frees_its_connection(one: Database, shop: Shop) -> None:
    async def wait() -> None:
        async with one.transaction() as tx:
            await tx.execute(text(ADD))
            await tx.execute(text("SELECT pg_sleep(60)"))

    waiting = asyncio.create_task(wait())
    await until(lambda: is_sleeping(shop))
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pid_of(one)
    assert await shop.sql("SELECT email FROM customers") == []


async def test_a_cancelled_transaction_of_a_silent_server_frees_its_place(one: Database, shop: Shop) -> None:
    pids: list[int] = []

    async def wait() -> None:
        async with one.transaction() as tx:
            pids.append((await tx.execute(PID)).scalar_one())
            await tx.execute(text("SELECT pg_sleep(60)"))

    waiting = asyncio.create_task(wait())
    await until(lambda: is_sleeping(shop))
    os.kill(pids[0], signal.SIGSTOP)
    try:
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await pid_of(one) != pids[0]
    finally:
        os.kill(pids[0], signal.SIGCONT)


async def test_a_suppressed_error_does_not_pass_as_a_commit(one: Database) -> None:
    with pytest.raises(DatabaseUnavailable, match="could not be committed"):
        async with one.transaction() as tx:
            with pytest.raises(Exception, match="division"):
                await tx.execute(text("SELECT 1 / 0"))


async def test_after_an_error_the_connection_is_used_again(one: Database) -> None:
    first = await pid_of(one)
    with pytest.raises(ConstraintViolated):
        async with one.transaction() as tx:
            await tx.execute(text("INSERT INTO products (id, title) VALUES (NULL, NULL)"))
    assert await pid_of(one) == first


async def test_a_savepoint_undoes_its_block_only(one: Database, shop: Shop) -> None:
    async with one.transaction() as tx:
        await tx.execute(text(ADD))
        with pytest.raises(RuntimeError):
            async with tx.begin_nested():
                await tx.execute(text("UPDATE customers SET email = 'bob@customer.example'"))
                raise RuntimeError
    assert await shop.sql("SELECT email FROM customers") == ["ann@customer.example"]


async def test_an_unreachable_server_is_named() -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no connection to 127\.0\.0\.1:1 \(ConnectionRefusedError\)"):
        async with Database("postgresql://127.0.0.1:1/shop").transaction():
            pass
