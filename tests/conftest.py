"""One real PostgreSQL for a whole test run; every test gets an empty, migrated database of its own."""

import asyncio
import atexit
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
import structlog
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from commerce.database import Database
from commerce.errors import Unreachable
from starter.client import connect
from starter.devstack import postgres, temporal
from starter.telemetry.exit import exit_process
from tests.keys import ENCRYPTION_ENV

TEMPLATE = "template_commerce"
numbers = itertools.count()
finished = pytest.StashKey[pytest.Session]()


def pytest_configure() -> None:
    """Give our log to pytest, as libraries do: on standard output it would run into what commands print."""
    structlog.configure(
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
    )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of whole systems first: they are the longest, and should not be waited for at the end."""
    rooms = ["system", "workflows"]
    items.sort(key=lambda item: min((rooms.index(part) for part in item.path.parts if part in rooms), default=9))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[tuple[Path, int]]:
    """A cluster that forgets nothing when killed but does not wait for the disk."""
    folder, port = Path(tempfile.mkdtemp(prefix="commerce tests ")), free_port()
    postgres.prepare(folder)
    with (folder / "postgres.log").open("w") as log:
        server = subprocess.Popen(
            postgres.command(folder, port, "fsync=off", "synchronous_commit=off"), stdout=log, stderr=log
        )
    deadline = time.monotonic() + 30
    while "ready to accept connections" not in (folder / "postgres.log").read_text():
        assert server.poll() is None, (folder / "postgres.log").read_text()
        assert time.monotonic() < deadline, "PostgreSQL did not start within 30 s"
        time.sleep(0.05)
    yield folder, port
    server.send_signal(2)
    server.wait(timeout=30)
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
async def template(postgres_server: tuple[Path, int]) -> str:
    """A migrated database that the others are copied from."""
    folder, port = postgres_server
    await run_sql(postgres.url(folder, port, "postgres"), f"CREATE DATABASE {TEMPLATE}")
    database = Database(postgres.url(folder, port, TEMPLATE))
    await database.migrate()
    await database.close()
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_server: tuple[Path, int], template: str) -> AsyncIterator[str]:
    """The URL of an empty, migrated database."""
    folder, port = postgres_server
    name = f"test_{os.getpid()}_{next(numbers)}"
    await run_sql(
        postgres.url(folder, port, "postgres"), f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log"
    )
    yield postgres.url(folder, port, name)
    await run_sql(postgres.url(folder, port, "postgres"), f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """An empty, migrated shop."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
async def temporal_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of a real Temporal server."""
    folder, port = tmp_path_factory.mktemp("temporal"), free_port()
    with (folder / "temporal.log").open("w") as log:
        server = subprocess.Popen(  # noqa: ASYNC220 - starts at once
            temporal.command(folder, port, free_port()), stdout=log, stderr=log
        )
    environment = {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}", **ENCRYPTION_ENV}
    await temporal.prepare(await until_connected(environment))
    yield environment["TEMPORAL_ADDRESS"]
    server.terminate()
    server.wait(timeout=30)


@pytest.fixture
async def client(temporal_server: str) -> Client:
    """A client that speaks as our processes do."""
    return await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV})


async def until_connected(environment: dict[str, str]) -> Client:
    deadline = time.monotonic() + 30
    while True:
        try:
            client = await connect(environment)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
            return client
        except (Unreachable, RPCError):
            assert time.monotonic() < deadline, "Temporal did not start within 30 s"
            await asyncio.sleep(0.1)


async def run_sql(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    session.config.stash[finished] = session


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """End without Python's finalisation, as our processes do: it may abort once a Temporal client was used."""
    if (session := config.stash.get(finished, None)) is not None:
        atexit._run_exitfuncs()  # pytest unlocks its temporary folders there
        exit_process(int(session.exitstatus))
