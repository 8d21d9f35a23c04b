"""The roles of the embedded PostgreSQL: the application can run the shop, and neither change its tables nor the server.

An older version's cluster, whose only role is a superuser, gets the same roles and keeps its data.
"""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from commerce import migrations
from commerce.database import Database
from commerce.errors import DatabaseUnavailable
from starter.devstack import postgres, roles
from starter.devstack.postgres import APPLICATION, DATABASE, MIGRATOR, SUPERUSER
from tests.commerce.migrations.old_shop import FILL, REVISIONS, check_schema
from tests.conftest import free_port, run_sql
from tests.servers import DEADLINE, PASSWORD, start_postgres, url_of

SECRET = "for root only"
# What each must not do, and what PostgreSQL then says.
FORBIDDEN = {
    "run a program": "COPY locations (id) FROM PROGRAM 'echo stolen'",
    "run a program with output": "COPY locations TO PROGRAM 'cat'",
    "read a file": "COPY locations (id) FROM '{file}'",
    "write a file": "COPY locations TO '{file}'",
    "read a file by a function": "SELECT pg_read_file('{file}')",
    "list a folder": "SELECT pg_ls_dir('/')",
    "import a file": "SELECT lo_import('{file}')",
    "create a table": "CREATE TABLE mine (id int)",
    "create a function": "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "create a schema": "CREATE SCHEMA mine",
    "change a table": "ALTER TABLE orders ADD COLUMN mine int",
    "drop a table": "DROP TABLE orders",
    "empty a table": "TRUNCATE webhook_endpoints",
    "disable the constraints of a table": "ALTER TABLE orders DISABLE TRIGGER ALL",
    "ignore constraints": "SET session_replication_role = replica",
    "change the revision": "UPDATE alembic_version SET version_num = '0001'",
    "create a role": "CREATE ROLE mine",
    "create a database": "CREATE DATABASE mine",
    "become the owner": f"SET ROLE {MIGRATOR}",
    "become the superuser": f"SET ROLE {SUPERUSER}",
    "change the server": "ALTER SYSTEM SET log_statement = 'all'",
    "read passwords": "SELECT rolpassword FROM pg_authid",
}


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("statement", FORBIDDEN.values(), ids=FORBIDDEN)
async def test_the_application_cannot(connection: asyncpg.Connection, tmp_path: Path, statement: str) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET)
    with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.exceptions.InvalidGrantOperationError)):
        await connection.execute(statement.format(file=file))


async def test_the_application_can_use_all_tables_and_analyze_them(connection: asyncpg.Connection) -> None:
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    assert len(tables) > 20
    for (table,) in tables:
        await connection.execute(f"SELECT FROM {table}")
        if table != "alembic_version":
            await connection.execute(f"DELETE FROM {table} WHERE false")
            async with connection.transaction():
                await connection.execute(f"ANALYZE {table}")
    async with connection.transaction():
        await connection.execute("CREATE TEMPORARY TABLE staged ON COMMIT DROP AS TABLE orders")


async def test_a_table_of_a_new_revision_can_be_used_after_the_migration(database_url: str) -> None:
    migrator = url_of(MIGRATOR, database_url)
    await run_sql(migrator, "CREATE TABLE newer (id int)")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_sql(database_url, "INSERT INTO newer VALUES (1)")
    database = Database(database_url)
    await database.migrate(migrator)
    await database.close()
    await run_sql(database_url, "INSERT INTO newer VALUES (1)")


async def test_the_application_alone_migrates_only_a_database_that_is_up_to_date(database_url: str) -> None:
    database = Database(database_url)
    await database.migrate()
    await run_sql(url_of(MIGRATOR, database_url), f"UPDATE alembic_version SET version_num = '{REVISIONS[0]}'")
    with pytest.raises(DatabaseUnavailable, match="set COMMERCE_MIGRATION_DATABASE_URL to the URL of the role that"):
        await database.migrate()
    await database.close()


@pytest.fixture
async def old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Path, int]]:
    """A running cluster as an older version made it: its only role, `commerce`, is a superuser who owns a full shop."""
    port = free_port()
    with monkeypatch.context() as older:
        older.setattr(postgres, "SUPERUSER", APPLICATION)
        server = start_postgres(tmp_path, port)
    try:
        old = f"postgresql://commerce:{PASSWORD}@127.0.0.1:{port}"
        await run_sql(f"{old}/postgres", f"CREATE DATABASE {DATABASE}")
        await migrations.upgrade(f"{old}/{DATABASE}", REVISIONS[0])
        await run_sql(f"{old}/{DATABASE}", FILL)
        await run_sql(f"{old}/{DATABASE}", "CREATE VIEW report AS SELECT id FROM orders")
        (tmp_path / f"{APPLICATION}.password").rename(tmp_path / "postgres.password")
        (tmp_path / f"{MIGRATOR}.password").unlink()
        postgres.prepare(tmp_path)
        yield tmp_path, port
    finally:
        server.terminate()
        server.wait(DEADLINE)


@pytest.mark.programs
async def test_an_older_data_folder_gets_the_roles_and_keeps_its_data(old_folder: tuple[Path, int]) -> None:
    folder, port = old_folder
    url, migrator = (postgres.url(folder, port, role=role) for role in (APPLICATION, MIGRATOR))
    count = "SELECT (SELECT count(*) FROM orders), (SELECT count(*) FROM outbox_events), (SELECT count(*) FROM report)"
    for _ in range(2):  # the second start finds everything done
        await roles.set_up(folder, port)
        database = Database(url)
        await database.migrate(migrator)
        await database.close()
    superuser = await asyncpg.connect(postgres.superuser_url(folder, port, DATABASE))
    assert [*await superuser.fetchrow(count)] == [300, 300, 300]
    owners = "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    assert [owner for (owner,) in await superuser.fetch(owners)] == [MIGRATOR]
    logins = await superuser.fetch("SELECT rolname, rolsuper FROM pg_roles WHERE rolname NOT LIKE 'pg\\_%' ORDER BY 1")
    assert [tuple(row) for row in logins] == [(APPLICATION, False), (MIGRATOR, False), (SUPERUSER, True)]
    await superuser.close()
    await check_schema(migrator)
    await run_sql(url, "UPDATE orders SET hold_reason = 'none'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run_sql(url, FORBIDDEN["run a program"])
