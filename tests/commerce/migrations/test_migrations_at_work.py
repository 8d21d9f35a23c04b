"""A migration is cut off, meets others, and waits for its turn: it goes on, and the shop goes on beside it."""

import asyncio
import itertools
import os
import sys
from pathlib import Path

import pytest
from sqlalchemy.exc import DBAPIError

from commerce import migrations
from commerce.database import Database
from commerce.errors import DatabaseUnavailable
from tests.commerce.migrations.old_shop import REVISIONS, agree, ask, copy_of, reading, until
from tests.conftest import run_sql
from tests.paths import ROOT

# The command that stands at this number fails, as if the migration were killed there.
CUT_OFF = """
    CREATE SEQUENCE commands;
    CREATE FUNCTION cut_off() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
        IF nextval('commands') = {number} THEN RAISE EXCEPTION 'cut off'; END IF;
    END $$;
    CREATE EVENT TRIGGER cut_off ON ddl_command_end EXECUTE FUNCTION cut_off();
"""
SHAPE = """
    SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'
    UNION ALL SELECT indexrelid::regclass || ' is unfinished' FROM pg_index WHERE NOT indisvalid
    UNION ALL SELECT conrelid::regclass || ' ' || conname || pg_get_constraintdef(oid) FROM pg_constraint
    UNION ALL SELECT concat_ws(' ', table_name, column_name, data_type, is_nullable, column_default)
        FROM information_schema.columns WHERE table_schema = 'public'
    ORDER BY 1
"""
BUILDING = "SELECT pid FROM pg_stat_progress_create_index WHERE datname = current_database() AND phase LIKE 'waiting%'"
WAITING = "SELECT 1 FROM pg_locks WHERE relation = 'carts'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted"
INVALID = "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"


async def test_cut_off_after_any_command_it_goes_on(postgres_server: tuple[Path, int], filled_once: str) -> None:
    shapes = []
    for number in itertools.count(1):
        async with copy_of(filled_once, postgres_server) as url:
            await run_sql(url, CUT_OFF.format(number=number))
            was_cut_off = await cut_off(url)
            await migrations.upgrade(url)
            await run_sql(url, "DROP EVENT TRIGGER cut_off; DROP FUNCTION cut_off; DROP SEQUENCE commands")
            shapes.append(await ask(url, SHAPE))
        if not was_cut_off:
            break
    assert len(shapes) > len(REVISIONS)
    assert all(shape == shapes[-1] for shape in shapes)


async def cut_off(url: str) -> bool:
    try:
        await migrations.upgrade(url)
    except DBAPIError as error:
        assert "cut off" in str(error.orig)
        return True
    return False


async def test_killed_while_it_builds_an_index_it_goes_on(filled: str, tmp_path: Path) -> None:
    async with reading(filled, "SELECT 1"):  # an old snapshot, which the index waits for
        killed = await migrating(filled, tmp_path)
        await until(filled, BUILDING)
        killed.kill()
        await killed.wait()
        [backend] = await ask(filled, BUILDING)
        await run_sql(filled, f"SELECT pg_terminate_backend({backend})")  # it would notice within 5 s by itself
    assert len(await ask(filled, INVALID)) == 1
    again = await migrating(filled, tmp_path)
    assert await again.wait() == 0
    assert await ask(filled, INVALID) == []
    await agree(filled)


async def test_several_at_once_take_turns(filled: str) -> None:
    database = Database(filled)
    await asyncio.gather(*(database.migrate() for _ in range(3)))
    await database.close()
    await agree(filled)


async def test_nobody_waits_behind_a_migration_that_waits(filled: str) -> None:
    async with reading(filled, "SELECT count(*) FROM carts"):  # a long report
        migrating = asyncio.create_task(migrations.upgrade(filled))
        await until(filled, WAITING)
        for number in range(5):  # each would be refused after ten seconds behind the migration
            await run_sql(
                filled,
                f"SET lock_timeout = '10s'; INSERT INTO carts VALUES ('late-{number}', NULL, 'GBP', now(), now())",
            )
        assert not migrating.done()
    await migrating
    await agree(filled)


async def test_a_table_that_is_held_for_ever_is_told(filled: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "TRIES", 1)
    async with reading(filled, "SELECT count(*) FROM carts"):
        with pytest.raises(DatabaseUnavailable, match="find it in pg_stat_activity"):
            await migrations.upgrade(filled)
    await migrations.upgrade(filled)
    await agree(filled)


async def test_a_database_that_is_away_is_told_in_one_line() -> None:
    database = Database("postgresql://nobody:secret@127.0.0.1:1/shop")
    with pytest.raises(DatabaseUnavailable, match=r"no connection to 127\.0\.0\.1:1 "):
        await database.migrate()
    await database.close()


async def migrating(url: str, folder: Path) -> asyncio.subprocess.Process:
    """Migrate in a process of its own, as operators do."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter", "migrate"),
        cwd=folder,
        env=own | {"PYTHONPATH": str(ROOT), "COMMERCE_DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
    )
