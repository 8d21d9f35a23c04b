"""Migrations go forward from every revision on a filled shop that is at work, and end as tables.py describes."""

import asyncio
import itertools
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from commerce import migrations
from commerce.database import Database
from commerce.errors import DatabaseUnavailable
from starter.devstack import postgres
from tests.conftest import run_sql

ROOT = Path(__file__).parents[2]
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

Content = list[tuple[str, dict[str, Any]]]  # rows, each with its table

REVISIONS = [script.revision for script in ScriptDirectory.from_config(migrations.config()).walk_revisions()][::-1]
numbers = itertools.count()

# A shop as revision 0001 knew it; later revisions carry it on.
FILL = """
    INSERT INTO customer_groups (name) VALUES ('registered');
    INSERT INTO customers (email) SELECT 'customer-' || n || '@shop.example' FROM generate_series(1, 300) AS n;
    INSERT INTO customer_group_members SELECT customer_groups.id, customers.id FROM customer_groups, customers;
    INSERT INTO auth_users (customer_id, password_hash) SELECT id, 'hash' FROM customers;
    INSERT INTO locations VALUES ('main', 'main', 0);
    INSERT INTO products SELECT 'p' || n, 'Product' FROM generate_series(1, 300) AS n;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM products;
    INSERT INTO inventory_items SELECT id, id FROM products;
    INSERT INTO variant_inventory_items SELECT id, id, 1 FROM products;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity) SELECT id, 'main', 9 FROM products;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
        SELECT id, 'main', 9, 'import', 'first' FROM products;
    INSERT INTO orders (id, customer_id, email, payment_status, currency, total, created_at, content_hash)
        SELECT email, id, email, 'captured', 'GBP', 250, now(), '' FROM customers;
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT id, 1, 'p1', 'p1', 'Product', 1, 250 FROM orders;
    INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT order_id, id, 'p1', 'main', 1 FROM order_lines;
    INSERT INTO fulfillments (order_id) SELECT id FROM orders;
    INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT fulfillments.id, order_lines.id, 'p1', 'main', 1 FROM fulfillments JOIN order_lines USING (order_id);
    INSERT INTO notifications (key, kind, recipient, order_id, status, message_id)
        SELECT id, 'order-shipped', email, id, 'sent', '<' || id || '>' FROM orders;
    INSERT INTO carts (id, currency, created_at, updated_at) SELECT id, 'GBP', now(), now() FROM orders;
    INSERT INTO cart_lines (cart_id, variant_id, sku, quantity, unit_price) SELECT id, 'p1', 'p1', 1, 250 FROM carts;
    INSERT INTO outbox_events (id, type, aggregate, data, published_at)
        SELECT gen_random_uuid(), 'order.placed', 'order/' || id, '{}', CASE WHEN id > 'customer-2' THEN now() END
        FROM orders;
    INSERT INTO process_generations SELECT id, 'g', now() FROM orders;
    INSERT INTO step_ledger (business_key, generation, step, state, call) SELECT id, 'g', 's', 'done', '{}' FROM orders;
    INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers, returning_customers,
                               top_products) VALUES ('2026-03-01', 'GBP', 1, 1, 1, 1, 0, '[]');
    INSERT INTO webhook_endpoints (url, secret, event_types) VALUES ('https://hook.example', 'secret', '[]');
    ANALYZE;
"""
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
        SELECT string_agg(relname, ', ') INTO worked
        FROM watched JOIN pg_class AS now ON now.oid = id JOIN pg_stat_xact_user_tables AS did USING (relname)
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
    Build and drop indexes with commerce/migrations/beside.py; add a constraint as NOT VALID and VALIDATE it in the
    next revision; make a unique constraint USING an index; fill a new column in a revision that changes no table;
    instead of changing a column's type, add another. See docs/operations.md, Upgrades.
"""
CONTENT = """
    SELECT format('SELECT %L, to_jsonb(content) FROM %I AS content', relname, relname) FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname NOT IN ('alembic_version', 'watched')
"""


@pytest.fixture(scope="session")
async def filled_once(postgres_server: tuple[Path, int]) -> str:
    """A filled shop of the oldest revision, to be copied."""
    folder, port = postgres_server
    await run_sql(postgres.url(folder, port, "postgres"), "CREATE DATABASE filled")
    url = postgres.url(folder, port, "filled")
    await migrations.upgrade(driven(url), REVISIONS[0])
    await run_sql(url, FILL)
    return "filled"


@pytest.fixture
async def filled(postgres_server: tuple[Path, int], filled_once: str) -> AsyncIterator[str]:
    """The URL of a filled shop of the oldest revision."""
    async with copy_of(filled_once, postgres_server) as url:
        yield url


@asynccontextmanager
async def copy_of(template: str, postgres_server: tuple[Path, int]) -> AsyncIterator[str]:
    folder, port = postgres_server
    name, server = f"migrated_{next(numbers)}", postgres.url(folder, port, "postgres")
    await run_sql(server, f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
    yield postgres.url(folder, port, name)
    await run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")


def driven(url: str) -> Any:
    return make_url(url).set(drivername="postgresql+asyncpg")


async def test_tables_and_migrations_agree(database_url: str) -> None:
    await agree(database_url)


async def agree(url: str) -> None:
    """Raise and list what differs from tables.py."""
    engine = create_async_engine(driven(url))

    def check(connection: Connection) -> None:
        command.check(migrations.config(connection))

    async with engine.connect() as connection:
        await connection.run_sync(check)
    await engine.dispose()


@pytest.mark.parametrize("revision", REVISIONS)
async def test_a_shop_at_work_is_brought_forward_without_long_locks(filled: str, revision: str) -> None:
    await migrations.upgrade(driven(filled), revision)
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
        await migrations.upgrade(driven(url))
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


async def test_cut_off_after_any_command_it_goes_on(postgres_server: tuple[Path, int], filled_once: str) -> None:
    shapes = []
    for number in itertools.count(1):
        async with copy_of(filled_once, postgres_server) as url:
            await run_sql(url, CUT_OFF.format(number=number))
            was_cut_off = await cut_off(url)
            await migrations.upgrade(driven(url))
            await run_sql(url, "DROP EVENT TRIGGER cut_off; DROP FUNCTION cut_off; DROP SEQUENCE commands")
            shapes.append(await ask(url, SHAPE))
        if not was_cut_off:
            break
    assert len(shapes) > len(REVISIONS)
    assert all(shape == shapes[-1] for shape in shapes)


async def cut_off(url: str) -> bool:
    try:
        await migrations.upgrade(driven(url))
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
        migrating = asyncio.create_task(migrations.upgrade(driven(filled)))
        await until(filled, WAITING)
        for number in range(5):  # each would be refused after ten seconds behind the migration
            await run_sql(
                filled,
                f"SET lock_timeout = '10s'; INSERT INTO carts VALUES ('late-{number}', NULL, 'GBP', now(), now())",
            )
        assert not migrating.done()
    await migrating
    await agree(filled)


async def test_a_database_that_is_away_is_told_in_one_line() -> None:
    database = Database("postgresql://nobody:secret@127.0.0.1:1/shop")
    with pytest.raises(DatabaseUnavailable, match=r"no connection to 127\.0\.0\.1:1 "):
        await database.migrate()
    await database.close()


@asynccontextmanager
async def reading(url: str, query: str) -> AsyncIterator[None]:
    """Read in a transaction that stays open while the block runs."""
    connection = await asyncpg.connect(url)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(query)
        yield
    await connection.close()


async def ask(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(query)
    await connection.close()
    return [value for (value,) in rows]


async def until(url: str, query: str) -> None:
    """Wait until a query finds something."""
    async with asyncio.timeout(60):
        while not await ask(url, query):  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.02)


async def migrating(url: str, folder: Path) -> asyncio.subprocess.Process:
    """Migrate in a process of its own, as operators do."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "starter", "migrate"),
        cwd=folder,
        env=own | {"PYTHONPATH": str(ROOT), "COMMERCE_DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
    )
