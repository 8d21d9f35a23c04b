"""The scripts of deploy/ work with a real PostgreSQL and a real Temporal, and can be run again."""

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import yaml
from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from commerce import migrations
from commerce.database import Database
from commerce.settings import load_settings
from starter.connection.encryption_keys import read_keys
from starter.devstack import postgres
from tests.commerce.migrations.old_shop import FILL, REVISIONS, check_schema, until_found
from tests.conftest import free_port, run_sql
from tests.deploy.binary import TEMPORAL
from tests.paths import ROOT
from tests.servers import PASSWORD, start_postgres
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

pytestmark = pytest.mark.programs

DEPLOY = ROOT / "deploy"
SCRIPTS = [DEPLOY / "make-secrets", *DEPLOY.rglob("*.sh")]
PASSWORDS = ("commerce", "migrator", "temporal")
PASSWORDS_OF = {
    "commerce": "commerce_password",
    "commerce_migrator": "migrator_password",
    "temporal": "temporal_password",
}
REACHES = {
    "commerce": ("commerce",),
    "commerce_migrator": ("commerce",),
    "temporal": ("temporal", "temporal_visibility"),
}
DAY = 24 * 60 * 60  # seconds
# Replaces temporal-sql-tool, which is not available as a package: records its calls.
SQL_TOOL = '#!/bin/sh\necho "$SQL_PASSWORD $*" >> "$CALLS"\n'


def run(script: str, *arguments: object, **variables: object) -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PG"))}
    more = {name: str(value) for name, value in variables.items()}
    command = [str(DEPLOY / script), *map(str, arguments)]
    return subprocess.run(command, env=own | more, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    done = run("make-secrets", tmp_path / "secrets")
    assert done.returncode == 0, done.stderr
    return tmp_path / "secrets"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_valid_and_executable(script: Path) -> None:
    shell = script.read_text().splitlines()[0].split()[0].rpartition("/")[2]
    assert subprocess.run(["bash" if shell == "env" else "sh", "-n", script], check=False).returncode == 0
    assert os.access(script, os.X_OK)


def test_secrets_are_private_and_consistent(secrets: Path) -> None:
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert {file.stat().st_mode & 0o777 for file in secrets.iterdir()} == {0o444}
    password = (secrets / "commerce_password").read_text().strip()
    url = f"postgresql://commerce:{password}@postgres:5432/commerce"
    assert (secrets / "database_url").read_text().strip() == url
    password = (secrets / "migrator_password").read_text().strip()
    url = f"postgresql://commerce_migrator:{password}@postgres:5432/commerce"
    assert (secrets / "migration_database_url").read_text().strip() == url
    settings = load_settings({"COMMERCE_ENCRYPTION_KEYS_FILE": str(secrets / "encryption_keys")})
    assert [len(key) for key in read_keys(settings)] == [32]


def test_existing_secrets_are_not_changed(secrets: Path) -> None:
    before = {file.name: file.read_text() for file in secrets.iterdir()}
    (secrets / "smtp_url").unlink()
    (secrets / "smtp_url").write_text("smtps://mail.example")
    again = run("make-secrets", secrets)
    assert again.returncode == 0
    assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}
    after = {file.name: file.read_text() for file in secrets.iterdir()}
    assert after == before | {"smtp_url": "smtps://mail.example"}
    # Webhooks of shops, links, payments and picks have none yet.
    created = [content for content in before.values() if content]
    assert len(created) == len(before) - 5
    assert len(set(created)) == len(created)


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[dict[str, object]]:
    """Run a separate PostgreSQL, because roles belong to the whole server; yields the script's variables."""
    folder, port = tmp_path / "cluster", free_port()
    folder.mkdir()
    process = await asyncio.to_thread(start_postgres, folder, port)
    try:
        path = f"{Path(postgres._binary('psql')).parent}:{os.environ['PATH']}"
        where = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": "postgres", "PATH": path}
        yield where | {"POSTGRES_PASSWORD_FILE": folder / "postgres.password"}
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)


def create_databases(server: dict[str, object], secrets: Path) -> subprocess.CompletedProcess[str]:
    files = {f"{name.upper()}_PASSWORD_FILE": secrets / f"{name}_password" for name in PASSWORDS}
    return run("postgres/databases.sh", **server, **files)


def url_of(server: dict[str, object], secrets: Path, role: str, database: str) -> str:
    """Return the URL of a database for a role with the password of its secret."""
    password = (secrets / PASSWORDS_OF[role]).read_text().strip()
    return f"postgresql://{role}:{password}@127.0.0.1:{server['PGPORT']}/{database}"


async def migrate(server: dict[str, object], secrets: Path) -> None:
    """Do what the service `migrate` does."""
    database = Database(url_of(server, secrets, "commerce", "commerce"))
    await database.migrate(url_of(server, secrets, "commerce_migrator", "commerce"))
    await database.close()


async def test_each_role_reaches_its_own_databases_only(server: dict[str, object], secrets: Path) -> None:
    for _ in range(2):
        done = await asyncio.to_thread(create_databases, server, secrets)
        assert (done.returncode, done.stderr) == (0, "")

    for role, reached in REACHES.items():
        for database in ("commerce", "temporal", "temporal_visibility"):
            url = url_of(server, secrets, role, database)
            if database in reached:
                await run_sql(url, "SELECT 1")
            else:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await run_sql(url, "SELECT 1")


async def test_only_the_migrator_changes_tables(server: dict[str, object], secrets: Path) -> None:
    await asyncio.to_thread(create_databases, server, secrets)
    await migrate(server, secrets)
    application = url_of(server, secrets, "commerce", "commerce")
    await run_sql(application, "INSERT INTO locations (id, name) VALUES ('main', 'Main')")
    for forbidden in ("CREATE TABLE mine (id int)", "DROP TABLE carts", "COPY carts (id) FROM PROGRAM 'echo 1'"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await run_sql(application, forbidden)


async def test_the_volume_of_an_older_version_gets_the_roles_while_the_shop_works(
    server: dict[str, object], secrets: Path
) -> None:
    superuser = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{server['PGPORT']}"
    password = (secrets / "commerce_password").read_text().strip()
    await run_sql(f"{superuser}/postgres", f"CREATE ROLE commerce LOGIN PASSWORD '{password}'")
    await run_sql(f"{superuser}/postgres", "CREATE DATABASE commerce OWNER commerce")
    application = url_of(server, secrets, "commerce", "commerce")
    await migrations.upgrade(application, REVISIONS[0])
    await run_sql(application, FILL)

    shop = await asyncpg.connect(application)
    async with shop.transaction():
        await shop.execute("UPDATE orders SET hold_reason = 'busy'")  # for longer than the script waits for a lock
        script = asyncio.create_task(asyncio.to_thread(create_databases, server, secrets))
        await until_found(superuser + "/commerce", "SELECT 1 FROM pg_locks WHERE NOT granted")
        await until_found(superuser + "/commerce", "SELECT 1 WHERE NOT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
    done = await script
    assert done.returncode == 0, done.stderr
    await shop.execute("UPDATE orders SET hold_reason = 'between script and migration'")
    await migrate(server, secrets)
    await shop.execute("UPDATE orders SET hold_reason = 'after the migration'")
    assert await shop.fetchval("SELECT count(*) FROM orders") == 300
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await shop.execute("DROP TABLE orders")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await shop.execute("DELETE FROM alembic_version")
    await shop.close()
    await check_schema(url_of(server, secrets, "commerce_migrator", "commerce"))


def test_databases_are_not_made_without_passwords(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_text("\n")
    done = run("postgres/databases.sh", **{f"{name.upper()}_PASSWORD_FILE": empty for name in PASSWORDS})
    assert done.returncode != 0
    assert done.stderr == f"{empty} is empty\n"


def test_the_schemas_of_both_databases_are_brought_up(tmp_path: Path, secrets: Path) -> None:
    tool = tmp_path / "temporal-sql-tool"
    tool.write_text(SQL_TOOL)
    tool.chmod(0o755)
    done = run(
        "temporal/schema.sh",
        PATH=f"{tmp_path}:{os.environ['PATH']}",
        CALLS=tmp_path / "calls",
        SQL_PASSWORD_FILE=secrets / "temporal_password",
    )
    assert done.returncode == 0, done.stderr
    password = (secrets / "temporal_password").read_text().strip()
    versions = "/etc/temporal/schema/postgresql/v12"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"{password} --database temporal setup-schema --version 0.0",
        f"{password} --database temporal update-schema --schema-dir {versions}/temporal/versioned",
        f"{password} --database temporal_visibility setup-schema --version 0.0",
        f"{password} --database temporal_visibility update-schema --schema-dir {versions}/visibility/versioned",
    ]


def test_the_server_gets_the_password_from_the_secret(tmp_path: Path, secrets: Path) -> None:
    server = tmp_path / "entrypoint.sh"
    server.write_text('#!/bin/sh\necho "$POSTGRES_PWD"\n')
    server.chmod(0o755)
    done = run("temporal/server.sh", ENTRYPOINT=server, POSTGRES_PWD_FILE=secrets / "temporal_password")
    assert done.stdout == (secrets / "temporal_password").read_text()


@pytest.mark.parametrize("password", ["plain", 'a"b', "a\\b\\", "{{ env }}: #'%$x ü"])
def test_the_server_reads_a_password_of_any_characters(tmp_path: Path, password: str) -> None:
    file = tmp_path / "password"
    file.write_text(password + "\n")
    server = tmp_path / "entrypoint.sh"
    server.write_text('#!/bin/sh\nprintf "%s" "$POSTGRES_PWD"\n')
    server.chmod(0o755)
    done = run("temporal/server.sh", ENTRYPOINT=server, POSTGRES_PWD_FILE=file)
    assert yaml.safe_load(f'password: "{done.stdout}"') == {"password": password}  # as in the server's configuration


@pytest.mark.parametrize("namespace", ["default", "shop-of-the-scripts"])
async def test_the_namespace_is_set_up_and_can_be_set_up_again(client: Client, namespace: str) -> None:
    assert shutil.which(TEMPORAL)
    where = {
        "PATH": f"{Path(TEMPORAL).parent}:{os.environ['PATH']}",
        "TEMPORAL_ADDRESS": client.service_client.config.target_host,
        "TEMPORAL_CONFIG_FILE": os.devnull,
    }
    for _ in range(2):
        done = await asyncio.to_thread(
            run, "temporal/namespace.sh", TEMPORAL_NAMESPACE=namespace, RETENTION="30d", **where
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(f"Temporal: namespace {namespace} is ready and keeps closed runs for 30d\n")

    described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    assert described.config.workflow_execution_retention_ttl.ToSeconds() == 30 * DAY
    request = ListSearchAttributesRequest(namespace=namespace)
    known = (await client.operator_service.list_search_attributes(request)).custom_attributes
    assert set(SEARCH_ATTRIBUTES) <= set(known)


def test_the_namespace_is_ready_when_all_parts_of_the_server_answer(tmp_path: Path) -> None:
    """A server with a new address counts on the old one for a while, although its front end answers."""
    answers = tmp_path / "answers"
    answers.write_text("Not enough hosts to serve the request\n" * 3 + "workflow not found for ID: nobody\n" * 8)
    write_program(tmp_path / "sleep", "")
    write_program(
        tmp_path / "temporal",
        f"""
        case "$*" in
            "workflow describe "*) head -1 {answers} >&2; sed -i 1d {answers}; exit 1 ;;
            "operator search-attribute list "*) echo {" ".join(SEARCH_ATTRIBUTES)} ;;
        esac
        """,
    )
    done = run("temporal/namespace.sh", PATH=f"{tmp_path}:{os.environ['PATH']}", RETENTION="30d")
    assert done.returncode == 0, done.stdout + done.stderr
    assert answers.read_text() == ""


def write_program(file: Path, script: str) -> None:
    file.write_text(f"#!/bin/sh\n{script}")
    file.chmod(0o755)


def test_an_unreachable_temporal_fails_the_script(tmp_path: Path) -> None:
    path = f"{Path(TEMPORAL).parent}:{os.environ['PATH']}"
    done = run("temporal/namespace.sh", PATH=path, TEMPORAL_ADDRESS="127.0.0.1:1", TRIES="1", HOME=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "Temporal: could not reach the server (attempts: 1)\n"
