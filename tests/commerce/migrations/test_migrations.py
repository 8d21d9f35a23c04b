"""Migrations go forward from every revision on a filled shop without long locks, and end as tables.py describes."""

import json
from typing import Any

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from commerce import migrations
from tests.commerce.migrations.old_shop import REVISIONS, agree
from tests.conftest import run_sql

Content = list[tuple[str, dict[str, Any]]]  # rows, each with its table

# At every DDL statement and at the end of every revision: while a table is held so that others cannot read or write it,
# none may be read through or written anew, as that takes long. What the statistics count is this very transaction.
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
            RAISE EXCEPTION 'The shop waits for % while % is read through or written anew', held, worked;
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
CURE = """
    Build and drop indexes with commerce/migrations/concurrent_indexes.py; add a constraint
    as NOT VALID and VALIDATE it in the next revision; make a unique constraint USING an index; fill a new column
    in a revision that changes no table;
    instead of changing a column's type, add another. See docs/operations.md, Upgrades.
"""
CONTENT = """
    SELECT format('SELECT %L, to_jsonb(content) FROM %I AS content', relname, relname) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT IN ('alembic_version', 'watched')
"""


async def test_tables_and_migrations_agree(database_url: str) -> None:
    await agree(database_url)


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_shop_at_work_is_brought_forward_without_long_locks(filled: str, revision: str) -> None:
    await migrations.upgrade(filled, revision)
    before = await content(filled)
    await run_sql(filled, WATCH)
    await bring_forward(filled)
    await run_sql(filled, UNWATCH)
    assert missing(before, await content(filled)) == []
    await agree(filled)


async def bring_forward(url: str) -> None:
    """Migrate a watched shop; what holds it up teaches its cure."""
    fault = ""
    try:
        await migrations.upgrade(url)
    except DBAPIError as error:
        fault = str(error.orig)
    if fault:
        pytest.fail(f"{fault}{CURE}", pytrace=False)


async def content(url: str) -> Content:
    """Return every row of the shop, with its table."""
    connection = await asyncpg.connect(url)
    queries = [query for (query,) in await connection.fetch(CONTENT)]
    rows = [(table, json.loads(row)) for query in queries for table, row in await connection.fetch(query)]
    await connection.close()
    return rows


def missing(before: Content, after: Content) -> list[tuple[str, str]]:
    """Return the rows that are gone or changed; a column that came or went since then counts for nothing."""
    columns = {table: row.keys() for table, row in after}

    def rows(content: Content) -> set[tuple[str, str]]:
        common = {table: row.keys() & columns.get(table, row.keys()) for table, row in before}
        return {(table, json.dumps([row[name] for name in sorted(common.get(table, ()))])) for table, row in content}

    return sorted(rows(before) - rows(after))
