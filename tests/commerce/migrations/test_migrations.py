"""Migrations upgrade a filled shop from every revision without long locks, and end with the schema of tables.py."""

import json
from typing import Any, get_args

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from commerce import migrations, operator_actions
from commerce.database import Database
from commerce.messages.operator_actions import ActionName
from tests.commerce.migrations.old_shop import REVISIONS, check_schema
from tests.conftest import run_sql

Content = list[tuple[str, dict[str, Any]]]  # rows, each with its table

# Checks after every DDL statement and every revision that no table is scanned or rewritten, which takes long, while the
# transaction holds a lock that blocks reads or writes of a table. The statistics count this transaction only.
WATCH = """
    CREATE TABLE watched AS SELECT oid AS id, relfilenode FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version';
    CREATE FUNCTION watch() RETURNS void LANGUAGE plpgsql AS $$
    DECLARE held text; worked text;
    BEGIN
        SELECT string_agg(DISTINCT relation::regclass::text, ', ') INTO held
        FROM pg_locks JOIN watched ON id = relation WHERE pid = pg_backend_pid()
        AND mode IN ('ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock');
        SELECT string_agg(now.relname, ', ') INTO worked
        FROM watched JOIN pg_class AS now ON now.oid = id JOIN pg_stat_xact_user_tables AS did ON did.relid = id
        WHERE seq_tup_read + n_tup_upd + n_tup_del > 0 OR now.relfilenode <> watched.relfilenode;
        PERFORM pg_stat_force_next_flush();
        IF held IS NOT NULL AND worked IS NOT NULL THEN
            RAISE EXCEPTION 'Others wait for % while % is scanned or rewritten', held, worked;
        END IF;
    END $$;
    CREATE FUNCTION watch_statement() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM watch(); END $$;
    CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION watch_statement();
    CREATE FUNCTION watch_revision() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM watch(); RETURN NULL; END $$;
    CREATE TRIGGER watch AFTER UPDATE ON alembic_version FOR EACH ROW EXECUTE FUNCTION watch_revision();
"""
UNWATCH = """
    DROP EVENT TRIGGER watch; DROP TRIGGER watch ON alembic_version; DROP TABLE watched;
    DROP FUNCTION watch_statement, watch_revision, watch;
"""
ADVICE = """
    Build and drop indexes with commerce/migrations/concurrent_indexes.py. Add a constraint
    as NOT VALID and VALIDATE it in the next revision. Make a unique constraint USING an index. Fill a new column
    in a revision that changes no table.
    Instead of changing a column's type, add another column. See docs/operations.md, Upgrades.
"""
CONTENT = """
    SELECT format('SELECT %L, to_jsonb(content) FROM %I AS content', relname, relname) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT IN ('alembic_version', 'watched')
"""


async def test_tables_and_migrations_agree(database_url: str) -> None:
    await check_schema(database_url)


async def test_the_database_knows_every_action_of_operators(database: Database) -> None:
    async with database.transaction() as tx:
        for name in get_args(ActionName):
            action = operator_actions.validate_action(process_id="p", action=name, reason="x")
            await operator_actions.record(tx, action)


async def test_a_working_shop_is_upgraded_without_long_locks(filled: str) -> None:
    before = await content(filled)
    await upgrade_watched(filled, "head")
    assert missing(before, await content(filled)) == []
    await check_schema(filled)


async def test_a_working_shop_is_upgraded_from_each_revision_to_the_next_one(filled: str) -> None:
    """No revision blocks the shop or loses a row, whichever revision the upgrade starts from."""
    before = await content(filled)
    for revision in REVISIONS[1:]:
        await upgrade_watched(filled, revision)
        after = await content(filled)
        assert (revision, missing(before, after)) == (revision, [])
        before = after
    await check_schema(filled)


async def upgrade_watched(url: str, revision: str) -> None:
    """Upgrade a shop and watch it; fail with advice if that would block the shop."""
    await run_sql(url, WATCH)
    fault = ""
    try:
        await migrations.upgrade(url, revision)
    except DBAPIError as error:
        fault = str(error.orig)
    if fault:
        pytest.fail(f"{revision}: {fault}{ADVICE}", pytrace=False)
    await run_sql(url, UNWATCH)


async def content(url: str) -> Content:
    """Return all rows of the shop, each with its table."""
    connection = await asyncpg.connect(url)
    queries = [query for (query,) in await connection.fetch(CONTENT)]
    rows = [(table, json.loads(row)) for query in queries for table, row in await connection.fetch(query)]
    await connection.close()
    return rows


def missing(before: Content, after: Content) -> list[tuple[str, str]]:
    """Return the rows that are gone or changed, ignoring columns that were added or removed."""
    columns = {table: row.keys() for table, row in after}

    def rows(content: Content) -> set[tuple[str, str]]:
        common = {table: row.keys() & columns.get(table, row.keys()) for table, row in before}
        return {(table, json.dumps([row[name] for name in sorted(common.get(table, ()))])) for table, row in content}

    return sorted(rows(before) - rows(after))
