"""Migrations while the shop works: interrupted, concurrent, and behind locks of other transactions."""

import asyncio
import itertools
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from commerce import migrations
from commerce.database import Database
from commerce.errors import DatabaseUnavailable
from tests.commerce.migrations.old_shop import REVISIONS, check_schema, fetch_column, reading, until_found
from tests.conftest import database_copy, run_sql
from tests.paths import ROOT
from tests.polling import LOCK_WAITS
from tests.servers import PostgresServer

# The DDL command with this number fails, as if the migration were killed there.
INTERRUPT = """
    CREATE SEQUENCE commands;
    CREATE FUNCTION interrupt() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('commands') = {number} THEN RAISE EXCEPTION 'interrupted'; END IF;
    END $$;
    CREATE EVENT TRIGGER interrupt ON ddl_command_end EXECUTE FUNCTION interrupt();
"""
SCHEMA = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT indexrelid::regclass || ' is invalid' FROM pg_index WHERE NOT indisvalid
    UNION ALL SELECT conrelid::regclass || ' ' || conname || pg_get_constraintdef(oid) FROM pg_constraint
    UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY 1
"""
BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'waiting%'"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


async def test_an_upgrade_interrupted_after_any_command_can_be_repeated(
    postgres_server: PostgresServer, admin: asyncpg.Connection, filled_template: str
) -> None:
    """Each revision starts from a database whose upgrade to the one before was interrupted and repeated."""
    interruptions, before, previous = 0, filled_template, AsyncExitStack()
    for revision in REVISIONS[1:]:
        schemas, following, name, repeated = [], AsyncExitStack(), None, None
        async with AsyncExitStack() as copies:
            for number in itertools.count(1):
                if name is None:
                    name = await copies.enter_async_context(database_copy(admin, before))
                    url = postgres_server.superuser_url(name)
                    start = await fetch_column(url, SCHEMA)
                was_interrupted = await upgrade_interrupted(url, revision, number)
                interruptions += was_interrupted
                schema = await fetch_column(url, SCHEMA)
                if was_interrupted and schema == start:
                    continue  # all was rolled back: the next interrupted upgrade repeats this one
                if was_interrupted:
                    await migrations.upgrade(url, revision)
                    schema = await fetch_column(url, SCHEMA)
                schemas.append(schema)
                if was_interrupted or repeated is None:
                    repeated = name
                if not was_interrupted:
                    break
                name = None
            assert all(schema == schemas[-1] for schema in schemas)
            before = await following.enter_async_context(database_copy(admin, str(repeated)))
        await previous.aclose()
        previous = following
    await check_schema(postgres_server.superuser_url(before))
    await previous.aclose()
    assert interruptions >= len(REVISIONS)


async def upgrade_interrupted(url: str, revision: str, number: int) -> bool:
    """Upgrade to a revision; return whether the command with this number interrupted that."""
    connection = await asyncpg.connect(url)
    await connection.execute(INTERRUPT.format(number=number))
    try:
        await migrations.upgrade(url, revision)
    except DBAPIError as error:
        assert "interrupted" in str(error.orig)
        return True
    else:
        return False
    finally:
        await connection.execute("DROP EVENT TRIGGER interrupt; DROP FUNCTION interrupt; DROP SEQUENCE commands")
        await connection.close()


async def test_an_upgrade_killed_while_it_builds_an_index_can_be_repeated(filled: str, tmp_path: Path) -> None:
    async with reading(filled, "SELECT 1"):  # an old snapshot, for which the index build waits
        killed = await start_migration(filled, tmp_path)
        await until_found(filled, BUILDING)
        killed.kill()
        await killed.wait()
        [backend] = await fetch_column(filled, BUILDING)
        await run_sql(filled, f"SELECT pg_terminate_backend({backend})")  # would end by itself within 5 s
    assert len(await fetch_column(filled, INVALID)) == 1
    again = await start_migration(filled, tmp_path)
    assert await again.wait() == 0
    assert await fetch_column(filled, INVALID) == []
    await check_schema(filled)


async def test_concurrent_upgrades_take_turns(filled: str) -> None:
    database = Database(filled)
    await asyncio.gather(*(database.migrate() for _ in range(3)))
    await database.close()
    await check_schema(filled)


async def test_no_transaction_waits_behind_a_waiting_migration(filled: str) -> None:
    async with reading(filled, "SELECT count(*) FROM carts"):  # a long report
        migrating = asyncio.create_task(migrations.upgrade(filled))
        await until_found(filled, LOCK_WAITS)
        for number in range(5):  # each would fail after ten seconds behind the migration
            await run_sql(
                filled,
                f"SET lock_timeout = '10s'; INSERT INTO carts VALUES ('late-{number}', NULL, 'GBP', now(), now())",
            )
        assert not migrating.done()
    await migrating
    await check_schema(filled)


async def test_a_table_that_stays_locked_is_reported(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "MAX_ATTEMPTS", 1)
    async with reading(filled, "SELECT count(*) FROM carts"):
        with pytest.raises(DatabaseUnavailable, match="find the transaction in pg_stat_activity"):
            await migrations.upgrade(filled)
    await migrations.upgrade(filled)
    await check_schema(filled)


async def test_the_error_of_an_unreachable_database_is_one_line() -> None:
    database = Database("postgresql://nobody:secret@127.0.0.1:1/shop")
    with pytest.raises(DatabaseUnavailable, match=r"no connection to 127\.0\.0\.1:1 "):
        await database.migrate()
    await database.close()


async def start_migration(url: str, folder: Path) -> asyncio.subprocess.Process:
    """Start `commerce migrate` in a process of its own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter", "migrate"),
        cwd=folder,
        env=own | {"PYTHONPATH": str(ROOT), "COMMERCE_DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
    )
