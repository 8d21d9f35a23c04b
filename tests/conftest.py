"""Fixtures for all tests: an empty, migrated database for each test, a Temporal server and its clients."""

import asyncio
import atexit
import gc
import itertools
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from commerce.database import Database
from commerce.errors import Unreachable
from starter.client import connect
from starter.connection import plugin
from starter.devstack import roles, temporal
from starter.devstack.ports import can_listen
from starter.devstack.postgres import MIGRATOR
from starter.telemetry.exit import exit_process
from tests.browser import browser as browser
from tests.browser import running_browser as running_browser
from tests.hashes import hash_cheaply
from tests.hashes import production_hashes as production_hashes
from tests.keys import ENCRYPTION_ENV
from tests.order import in_order
from tests.payment_provider import payments as payments
from tests.sandbox import Sandbox
from tests.servers import PostgresServer, once_per_run, shared_postgres, stop_servers, url_of, use_ram_disk
from tests.week import Week, sample_week

# Without bytecode files each program that a test starts would compile all modules again, for two to five seconds.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
use_ram_disk()
# Temporal servers, also those of stacks, collect garbage less often and on one core: a fifth less work.
os.environ.update(GOGC="400", GOMAXPROCS="1")
# Now and then the SDK's shutdown waits for ever for an activity that its core has lost (sdk-python#1837). Our worker
# ends by itself then (HARD_EXIT_SECONDS); a test must not wait for its time limit.
SHUTDOWN_SECONDS = 60
leave_worker = Worker.__aexit__


async def leave_worker_in_time(worker: Worker, *error: Any) -> None:
    """Leave the block of a worker, also if its shutdown hangs."""
    try:
        async with asyncio.timeout(SHUTDOWN_SECONDS):
            await leave_worker(worker, *error)
    except TimeoutError:
        sys.stderr.write(f"A worker has not shut down within {SHUTDOWN_SECONDS} s\n")


Worker.__aexit__ = leave_worker_in_time  # type: ignore[method-assign]
# Otherwise each client loads the certificate authorities, for 20 ms.
httpx._transports.default.create_ssl_context = cache(httpx._transports.default.create_ssl_context)
hash_cheaply()
# How long an example takes depends on what else the machine does. The examples of a test share its fixtures.
hypothesis_settings.register_profile(
    "tests", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
hypothesis_settings.load_profile("tests")
TEMPLATE = "template_commerce"
plugin.UnsandboxedWorkflowRunner = Sandbox  # type: ignore[misc,assignment]
# Temporal reports a run as stuck after two failed workflow tasks instead of five, which takes half a minute.
STUCK_SOON = (
    "--dynamic-config-value",
    "system.numConsecutiveWorkflowTaskProblemsToTriggerSearchAttribute=2",
)
# The queues of each test's worker in one piece instead of four: a quarter of the server's work.
ONE_PARTITION = (
    *("--dynamic-config-value", "matching.numTaskqueueReadPartitions=1"),
    *("--dynamic-config-value", "matching.numTaskqueueWritePartitions=1"),
)
NO_SYNC = ("--sqlite-pragma", "synchronous=OFF")  # no test outlives a crash of the machine
SERVERS = {"postgres": "postgres_server", "temporal": "temporal_server"}  # markers and the fixtures that they stand for
SYSTEM_TESTS = Path(__file__).parent / "system"
DEADLINE = 120  # seconds; reached only by what hangs
PORTS = range(12_000, 20_000)
finished = pytest.StashKey[pytest.Session]()
database_numbers = itertools.count()
port_offsets = itertools.count(random.randrange(len(PORTS)))  # each worker of a test run starts at another one


def pytest_configure() -> None:
    """Send our log through the logging module, which pytest captures. Standard output belongs to commands."""
    gc.disable()  # until all tests are collected: nearly everything that is made until then stays
    structlog.configure(
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        processors=[structlog.contextvars.merge_contextvars, structlog.stdlib.render_to_log_kwargs],
    )


def free_port() -> int:
    """Return a port that no server listens on, a different one on each call.

    The system takes the local ports of outgoing connections from 32768 upwards, so a port from there might be in use
    by the time the server starts.
    """
    for offset in itertools.islice(port_offsets, len(PORTS)):
        if can_listen(port := PORTS[offset % len(PORTS)]):
            return port
    raise AssertionError(f"no free port between {PORTS.start} and {PORTS.stop}")


@pytest.hookimpl(wrapper=True)
def pytest_collection(session: pytest.Session) -> Generator[None, object, object]:
    """Let one worker import everything before the others do, so that only it compiles the modules."""
    if not is_xdist_worker(session.config):
        return (yield)
    with once_per_run(session.config._tmp_path_factory.getbasetemp().parent, "collection") as done:
        if not done.exists():
            collected = yield
            done.touch()
            return collected
    return (yield)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests by what they need, and put them into the order in which they are handed out."""
    for item in items:
        for marker, fixture in SERVERS.items():
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(marker)
        if SYSTEM_TESTS in item.path.parents:
            item.add_marker("programs")
    items[:] = in_order(items)


def pytest_collection_finish() -> None:
    """Exclude what is loaded by now from garbage collections, which would take 0.2 s each, and collect less often."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)  # a fourteenth of the tests' work less
    gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List in one line which tests did not run, and what they need."""
    skipped = terminalreporter.stats.get("skipped", [])
    needs = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
    if needs:
        listed = "; ".join(f"{number} × {need}" for need, number in sorted(needs.items()))
        terminalreporter.write_line(f"Not run for want of: {listed}")


@pytest.fixture(scope="session")
def run_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all pytest workers of this run share."""
    return shared_folder(request.config, tmp_path_factory)


def shared_folder(config: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.getbasetemp()
    return base.parent if is_xdist_worker(config) else base


def is_xdist_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


@pytest.fixture(scope="session")
def postgres_server(run_folder: Path) -> PostgresServer:
    """The run's PostgreSQL server."""
    return shared_postgres(run_folder, free_port())


@pytest.fixture(scope="session")
async def admin(run_folder: Path, postgres_server: PostgresServer) -> AsyncIterator[asyncpg.Connection]:
    """The superuser's connection, which creates and drops databases."""
    with once_per_run(run_folder, "roles") as done:
        if not done.exists():
            await roles.set_up(postgres_server.folder, postgres_server.port)
            done.touch()
    connection = await asyncpg.connect(postgres_server.superuser_url())
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
async def template(run_folder: Path, postgres_server: PostgresServer, admin: asyncpg.Connection) -> str:
    """The name of a migrated database that the others are copied from."""
    with once_per_run(run_folder, TEMPLATE) as done:
        if not done.exists():
            await admin.execute(f"CREATE DATABASE {TEMPLATE} OWNER {MIGRATOR}")
            database = Database(postgres_server.url(TEMPLATE))
            await database.migrate(url_of(MIGRATOR, postgres_server.url(TEMPLATE)))
            await database.close()
            done.touch()
    return TEMPLATE


@pytest.fixture
async def database_url(postgres_server: PostgresServer, admin: asyncpg.Connection, template: str) -> AsyncIterator[str]:
    """The URL of an empty, migrated database, for the application's role, as in production."""
    async with database_copy(admin, template) as name:
        yield postgres_server.url(name)


@asynccontextmanager
async def database_copy(admin: asyncpg.Connection, template: str) -> AsyncIterator[str]:
    """Create a copy of a database, yield its name and drop it."""
    name = f"test_{os.getpid()}_{next(database_numbers)}"
    # By copying files: three times cheaper than through the log.
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {MIGRATOR} STRATEGY file_copy")
    yield name
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Week:
    """A week of orders, stock and carts as CSV files."""
    return sample_week(tmp_path_factory.mktemp("week"))


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A pool of connections to an empty, migrated database."""
    database = Database(database_url)
    yield database
    await database.close()


@pytest.fixture(scope="session")
def temporal_ports() -> tuple[int, int]:
    """The ports of the Temporal server and of its UI."""
    return free_port(), free_port()


@pytest.fixture(scope="session")
async def temporal_server(
    tmp_path_factory: pytest.TempPathFactory, temporal_ports: tuple[int, int]
) -> AsyncIterator[str]:
    """The address of a Temporal server."""
    folder, (port, ui_port) = tmp_path_factory.mktemp("temporal"), temporal_ports
    with (folder / "temporal.log").open("w") as log:
        server = subprocess.Popen(  # noqa: ASYNC220 - starts at once
            [*temporal.command(folder, port, ui_port), *STUCK_SOON, *ONE_PARTITION, *NO_SYNC], stdout=log, stderr=log
        )
    environment = {"TEMPORAL_ADDRESS": f"127.0.0.1:{port}", **ENCRYPTION_ENV}
    await temporal.prepare(await until_connected(environment))
    yield environment["TEMPORAL_ADDRESS"]
    server.terminate()
    server.wait(timeout=DEADLINE)


@pytest.fixture(scope="session")
def temporal_ui(temporal_server: str, temporal_ports: tuple[int, int]) -> str:
    """The address of the UI of the Temporal server."""
    return f"http://127.0.0.1:{temporal_ports[1]}"


@pytest.fixture
async def client(temporal_server: str) -> AsyncIterator[Client]:
    """A client with our data converter and interceptors. It ends what the test leaves open on the shared server."""
    connected = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV})
    yield connected
    async for run in connected.list_workflows('ExecutionStatus = "Running"'):
        with suppress(RPCError):  # it has ended since
            await connected.get_workflow_handle(run.id, run_id=run.run_id).terminate()


async def until_connected(environment: dict[str, str]) -> Client:
    deadline = time.monotonic() + DEADLINE
    while True:
        try:
            client = await connect(environment)
            await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace="default"))
            return client
        except (Unreachable, RPCError):
            assert time.monotonic() < deadline, f"Temporal did not start within {DEADLINE} s"
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
    if not is_xdist_worker(session.config):
        stop_servers(folder := session.config._tmp_path_factory.getbasetemp())
        if session.exitstatus == pytest.ExitCode.OK:
            shutil.rmtree(folder, ignore_errors=True)  # pytest deletes the rest at the start of the next run


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Exit without finalising Python, as our programs do: that may abort after a Temporal client was used."""
    if (session := config.stash.get(finished, None)) is not None:
        atexit._run_exitfuncs()  # unlocks the temporary folders of pytest
        exit_process(int(session.exitstatus))
