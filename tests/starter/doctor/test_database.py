"""The doctor's findings and advice for a real PostgreSQL server."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from commerce import migrations
from starter.devstack.postgres import MIGRATOR, SUPERUSER
from starter.doctor.database import GIB
from tests.conftest import run_sql
from tests.full_disk import full_disk
from tests.pooler import NEEDS_PGBOUNCER, running_pooler
from tests.servers import url_of
from tests.starter.doctor.conftest import RunCheck

NEWEST = migrations.revisions()[0]
SSL_REQUEST = 80877103  # instead of a version, in the first message of a connection


def changed(url: str, **parts: Any) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("wrong", "message", "advice"),
    [
        ({"port": 1}, "no server listens at 127.0.0.1:1", "Start PostgreSQL (`commerce up` starts everything), or"),
        (
            {"host": "db.invalid"},
            "there is no host db.invalid",
            "Start the server, or correct the host in COMMERCE_DATABASE_URL",
        ),
        ({"password": "hunter2"}, "rejected the user or password", "Correct user and password in COMMERCE_DATA"),
        ({"username": "eve"}, "rejected the user or password", "Correct user and password in COMMERCE_DATA"),
        (
            {"query": {"sslmode": "quite"}},
            "an invalid option after the ?",
            "Correct or remove the option in COMMERCE_DATA",
        ),
        ({"query": {"sslmood": "x"}}, "an invalid option after the ?", "Correct or remove the option in COMMERCE_DATA"),
        (
            {"query": {"sslmode": "require"}},
            "no PostgreSQL server accepts this connection at",
            "Correct host, port and sslmode in COMMERCE_DATABASE",
        ),
        (
            {"port": 99_999},
            "no PostgreSQL server accepts this connection at",
            "Correct host, port and sslmode in COMMERCE_DATA",
        ),
        ({"database": "shopp"}, "has no database shopp", "Run: createdb -h 127.0.0.1 -p "),
    ],
    ids=["port", "host", "password", "user", "option", "no option", "TLS", "no port", "database"],
)
async def test_a_wrong_url_is_explained(
    run_check: RunCheck, database_url: str, wrong: dict[str, Any], message: str, advice: str
) -> None:
    finding = await run_check("Database", "connection", COMMERCE_DATABASE_URL=changed(database_url, **wrong))
    assert (finding.state, finding.code) == ("failed", 3)
    assert message in finding.found and finding.advice.startswith(advice)
    assert "hunter2" not in str(finding) and (make_url(database_url).password or "-") not in str(finding)


async def test_the_advice_names_the_file_variable_if_the_url_is_in_a_file(
    run_check: RunCheck, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(changed(database_url, password="hunter2"))
    finding = await run_check("Database", "connection", COMMERCE_DATABASE_URL_FILE=str(file))
    assert finding.advice == "Correct user and password in COMMERCE_DATABASE_URL_FILE"


async def test_a_database_without_tables_must_be_migrated(
    run_check: RunCheck, database_url: str, admin: asyncpg.Connection
) -> None:
    name = f"empty_{make_url(database_url).database}"
    await admin.execute(f"CREATE DATABASE {name}")
    try:
        finding = await run_check("Database", "tables", COMMERCE_DATABASE_URL=changed(database_url, database=name))
    finally:
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert (finding.state, finding.found, finding.advice) == (
        "failed",
        "there are no tables yet",
        "Run: commerce migrate",
    )


@pytest.mark.parametrize(
    ("revision", "message", "advice"),
    [
        ("0001", f"the tables are at revision 0001, this program needs {NEWEST}", "Run: commerce migrate"),
        (
            "9999",
            f"the tables are at revision 9999, newer than this program's {NEWEST}",
            "Install the version of this program that migrated the tables",
        ),
    ],
)
async def test_tables_of_another_revision(
    run_check: RunCheck, database_url: str, revision: str, message: str, advice: str
) -> None:
    assert (await run_check("Database", "tables")).state == "ok"
    await run_sql(url_of(MIGRATOR, database_url), f"UPDATE alembic_version SET version_num = '{revision}'")
    finding = await run_check("Database", "tables")
    assert (finding.state, finding.found, finding.advice, finding.code) == ("failed", message, advice, 1)


async def test_a_role_that_can_do_too_much_or_too_little(run_check: RunCheck, database_url: str) -> None:
    finding = await run_check("Database", "role")
    assert (finding.state, finding.found) == ("ok", "commerce uses the tables and owns none")
    for role, more in ((MIGRATOR, "commerce_migrator owns the tables"), (SUPERUSER, "postgres is a superuser")):
        finding = await run_check("Database", "role", COMMERCE_DATABASE_URL=url_of(role, database_url))
        assert (finding.state, finding.code) == ("warning", 0)
        assert finding.found == f"{more}, so an injected statement could do more than the shop"
        assert finding.advice.startswith("Use a role of its own in COMMERCE_DATABASE_URL: docs/deployment.md")
    await run_sql(url_of(MIGRATOR, database_url), "REVOKE DELETE ON carts, orders FROM commerce")
    finding = await run_check("Database", "role")
    assert (finding.state, finding.code) == ("failed", 1)
    assert (finding.found, finding.advice) == ("commerce cannot use carts, orders", "Run: commerce migrate")


@pytest.mark.parametrize(
    ("ahead", "state", "message"),
    [
        (0, "ok", "same time as this machine"),
        (10, "warning", "the clock of PostgreSQL is 10.0 s behind"),
        (-60, "failed", "the clock of PostgreSQL is 60.0 s ahead of"),
    ],
)
async def test_a_clock_that_differs(run_check: RunCheck, ahead: float, state: str, message: str) -> None:
    finding = await run_check("Database", "clock", ahead=ahead)
    assert finding.state == state and finding.found.startswith(message)
    assert ("timedatectl" in finding.advice) == (state != "ok")


async def test_more_concurrent_steps_than_connections(run_check: RunCheck) -> None:
    assert (await run_check("Database", "connections")).state == "ok"
    finding = await run_check("Database", "connections", COMMERCE_WORKER_ACTIVITIES="500")
    assert (finding.state, finding.code) == ("warning", 0)
    assert (
        finding.found.endswith("a worker and an API need up to 514") and "COMMERCE_WORKER_ACTIVITIES" in finding.advice
    )


async def test_a_full_disk(run_check: RunCheck, database_url: str, tmp_path: Path) -> None:
    finding = await run_check("Database", "disk")
    assert (finding.state, finding.found) == ("ok", "the server can write")
    async with full_disk(database_url, tmp_path):
        finding = await run_check("Database", "disk")
    assert (finding.state, finding.found, finding.code) == ("failed", "the disk of the server is full", 1)
    assert finding.advice == "Free some space, or enlarge the disk"


@pytest.mark.parametrize(
    ("code", "found", "advice"),
    [
        ("53100", "the disk of the server is full", "Free some space, or enlarge the disk"),
        ("57P03", "PostgreSQL at {} starts or stops", "Wait a moment; if this persists, its log says why"),
    ],
    ids=["a full disk", "a start"],
)
async def test_a_server_that_refuses_connections_for_now(
    run_check: RunCheck, code: str, found: str, advice: str
) -> None:
    async with refusing_server(code) as address:
        finding = await run_check("Database", "connection", COMMERCE_DATABASE_URL=f"postgresql://x:y@{address}/x")
    assert (finding.state, finding.found, finding.advice) == ("failed", found.format(address), advice)


@asynccontextmanager
async def refusing_server(code: str) -> AsyncIterator[str]:
    """Serve as a PostgreSQL that answers every login with an error of this SQLSTATE; yields HOST:PORT."""
    fields = f"SFATAL\0VFATAL\0C{code}\0Mrefused\0\0".encode()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while int.from_bytes((request := await _message(reader))[:4]) == SSL_REQUEST:
            writer.write(b"N")
        assert b"user" in request
        writer.write(b"E" + (len(fields) + 4).to_bytes(4) + fields)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _message(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(int.from_bytes(await reader.readexactly(4)) - 4)


@pytest.mark.parametrize(("free", "state"), [(2 * GIB, "ok"), (GIB // 2, "warning"), (GIB // 20, "failed")])
async def test_the_space_for_an_embedded_stack(
    run_check: RunCheck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str
) -> None:
    (tmp_path / "stack.json").write_text('{"api_url": "http://127.0.0.1:9000"}')
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    finding = await run_check("Database", "disk")
    assert (finding.state, finding.found) == (state, f"{free / GIB:.1f} GiB free for {tmp_path}")
    assert ("Free some space" in finding.advice) == (state != "ok")


@NEEDS_PGBOUNCER
async def test_a_pooler_needs_the_url_of_the_server_too(run_check: RunCheck, database_url: str, tmp_path: Path) -> None:
    with running_pooler(tmp_path / "pooler", database_url) as pooler_url:
        pooler, server = (make_url(url) for url in (pooler_url, database_url))
        alone = await run_check("Database", "connection", COMMERCE_DATABASE_URL=pooler_url)
        assert (alone.state, alone.code) == ("failed", 3)
        assert alone.found == f"127.0.0.1:{pooler.port} is a pooler, such as PgBouncer"
        assert alone.advice.startswith("Set COMMERCE_DIRECT_DATABASE_URL to the URL of the server itself")

        urls = {"COMMERCE_DATABASE_URL": pooler_url, "COMMERCE_DIRECT_DATABASE_URL": database_url}
        both = await run_check("Database", "connection", **urls)
        assert both.state == "ok"
        assert both.found == (
            f"127.0.0.1:{pooler.port}, database {server.database}; "
            f"directly 127.0.0.1:{server.port}, database {server.database}"
        )
        assert (await run_check("Database", "connections", **urls)).found.endswith("the pooler limits its own")

        wrong = changed(database_url, port=1)
        refused = await run_check("Database", "connection", **urls | {"COMMERCE_DIRECT_DATABASE_URL": wrong})
        assert refused.found == "no server listens at 127.0.0.1:1"
        assert "COMMERCE_DIRECT_DATABASE_URL" in refused.advice
