"""What the doctor finds at a real PostgreSQL, and what it advises."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from commerce import migrations
from starter.devstack import postgres
from tests.conftest import run_sql
from tests.starter.doctor.conftest import Find

NEWEST = migrations.revisions()[0]


def changed(url: str, **parts: Any) -> str:
    return make_url(url).set(**parts).render_as_string(hide_password=False)


@pytest.mark.parametrize(
    ("wrong", "says", "cure"),
    [
        ({"port": 1}, "nobody listens at 127.0.0.1:1", "Start PostgreSQL (commerce up brings all), or correct"),
        ({"host": "db.invalid"}, "there is no host db.invalid", "Correct the host in COMMERCE_DATABASE_URL"),
        ({"password": "hunter2"}, "does not take our user and password", "Correct user and password in COMMERCE_DATA"),
        ({"username": "eve"}, "does not take our user and password", "Correct user and password in COMMERCE_DATA"),
        ({"query": {"sslmode": "quite"}}, "an option behind the ?", "Correct or remove it in COMMERCE_DATABASE_URL"),
        ({"query": {"sslmood": "x"}}, "an option behind the ?", "Correct or remove it in COMMERCE_DATABASE_URL"),
        (
            {"query": {"sslmode": "require"}},
            "is no PostgreSQL that takes us",
            "Correct host and port in COMMERCE_DATABASE",
        ),
        ({"port": 99_999}, "is no PostgreSQL that takes us", "Correct host and port in COMMERCE_DATA"),
        ({"database": "shopp"}, "has no database shopp", "Make it: createdb -h 127.0.0.1 -p "),
    ],
    ids=["port", "host", "password", "user", "option", "no option", "TLS", "no port", "database"],
)
async def test_a_wrong_url_is_told_by_what_is_wrong(
    find: Find, database_url: str, wrong: dict[str, Any], says: str, cure: str
) -> None:
    found = await find("Database", "connection", COMMERCE_DATABASE_URL=changed(database_url, **wrong))
    assert (found.state, found.code) == ("failed", 3)
    assert says in found.found and found.cure.startswith(cure)
    assert "hunter2" not in str(found) and (make_url(database_url).password or "-") not in str(found)


async def test_the_cure_names_the_file_where_a_file_holds_the_url(
    find: Find, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "url"
    file.write_text(changed(database_url, password="hunter2"))
    found = await find("Database", "connection", COMMERCE_DATABASE_URL_FILE=str(file))
    assert found.cure == "Correct user and password in COMMERCE_DATABASE_URL_FILE"


async def test_a_database_without_tables_is_to_be_migrated(
    find: Find, database_url: str, postgres_server: tuple[Path, int]
) -> None:
    folder, port = postgres_server
    server, name = postgres.url(folder, port, "postgres"), f"empty_{make_url(database_url).database}"
    await run_sql(server, f"CREATE DATABASE {name}")
    try:
        found = await find("Database", "tables", COMMERCE_DATABASE_URL=changed(database_url, database=name))
    finally:
        await run_sql(server, f"DROP DATABASE {name} WITH (FORCE)")
    assert (found.state, found.found, found.cure) == ("failed", "there are no tables yet", "commerce migrate")


@pytest.mark.parametrize(
    ("revision", "says", "cure"),
    [
        ("0001", f"they are at revision 0001, {NEWEST} is needed", "commerce migrate"),
        ("9999", f"they are newer (9999) than this program ({NEWEST})", "Install the version that made them"),
    ],
)
async def test_tables_of_another_revision(find: Find, database_url: str, revision: str, says: str, cure: str) -> None:
    assert (await find("Database", "tables")).state == "ok"
    await run_sql(database_url, f"UPDATE alembic_version SET version_num = '{revision}'")
    found = await find("Database", "tables")
    assert (found.state, found.found, found.cure, found.code) == ("failed", says, cure, 1)


@pytest.mark.parametrize(
    ("ahead", "state", "says"),
    [
        (0, "ok", "as this machine's"),
        (10, "warning", "PostgreSQL's is 10.0 s behind"),
        (-60, "failed", "PostgreSQL's is 60.0 s ahead of"),
    ],
)
async def test_a_clock_that_differs(find: Find, ahead: float, state: str, says: str) -> None:
    found = await find("Database", "clock", ahead=ahead)
    assert found.state == state and found.found.startswith(says)
    assert ("timedatectl" in found.cure) == (state != "ok")


async def test_more_steps_at_once_than_there_are_connections(find: Find) -> None:
    assert (await find("Database", "connections")).state == "ok"
    found = await find("Database", "connections", COMMERCE_WORKER_ACTIVITIES="300")
    assert (found.state, found.code) == ("warning", 0)
    assert found.found.endswith("a worker and an API take up to 314") and "COMMERCE_WORKER_ACTIVITIES" in found.cure
