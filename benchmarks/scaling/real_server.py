"""Temporal's real server for benchmarks: one process with all of its services, and a PostgreSQL server of its own.

Its programs are those of `deploy/rehearsal/build-programs`. It is set up as in `docker-compose.yml`. Its tables need
the extension btree_gin, which the embedded PostgreSQL lacks: that of Debian's package fits.
"""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import asyncpg
from google.protobuf.duration_pb2 import Duration
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from starter.devstack import postgres, temporal
from starter.devstack.ports import LOOPBACK, Ports
from starter.devstack.server_process import ServerProcess
from starter.devstack.servers import CODE
from workflows.engine.search_attributes import SEARCH_ATTRIBUTES

SERVER, SQL_TOOL = "temporal-server", "temporal-sql-tool"
DATABASES = {"temporal": "temporal", "temporal_visibility": "visibility"}  # and the names of their schemas
EXTENSION, LIBRARIES = "share/postgresql/18", "lib/postgresql/18/lib"  # in Debian's /usr
SERVICES = ("FRONTEND", "MATCHING", "HISTORY", "WORKER")
PATIENCE = 120  # seconds until a server is ready
USE = """
    SELECT (SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database WHERE datname LIKE 'temporal%'),
           (SELECT count(*) FROM pg_stat_activity WHERE datname LIKE 'temporal%')
"""


class Use(NamedTuple):
    """What a server has asked of its PostgreSQL server so far, and how many connections it has now."""

    transactions: int
    connections: int


@dataclass(frozen=True)
class RealServer:
    """A running server: its address, its process ids by name, and the URL of its PostgreSQL server."""

    address: str
    processes: Mapping[str, int]
    database: str

    async def use(self) -> Use:
        """Return what it has asked of its PostgreSQL server."""
        connection = await asyncpg.connect(self.database)
        row = await connection.fetchrow(USE)
        await connection.close()
        return Use(*row)


@dataclass(frozen=True)
class Installation:
    """Where Temporal's `programs` are, and Debian's `/usr` with postgresql-18, which may be that of another root."""

    programs: Path
    debian: Path

    def missing(self) -> str | None:
        """Return which file is missing, and what to do, in one line."""
        for name in (SERVER, SQL_TOOL):
            if shutil.which(name, path=str(self.programs)) is None:
                build = f"deploy/rehearsal/build-programs {SERVER} {SQL_TOOL}"
                return f"{self.programs / name} is missing or not a program; `{build}` builds it (Go)"
        extension = self.debian / EXTENSION / "extension/btree_gin.control"
        return None if extension.exists() else f"{extension} is missing; Debian's postgresql-18 has it; see --debian"


@asynccontextmanager
async def real_server(folder: Path, installed: Installation, shards: int) -> AsyncIterator[RealServer]:
    """Run a new server with this number of history shards until the block ends."""
    (folder / "logs").mkdir(parents=True)
    folder.chmod(0o755)
    postgres.prepare(folder)
    ports = Ports(folder / "ports.json", lambda _: None)
    port = ports.choose("postgres", "PostgreSQL", 0)
    url = postgres.superuser_url(folder, port)
    settings = (
        "max_connections=300",
        "shared_buffers=512MB",
        f"extension_control_path=$system:{installed.debian / EXTENSION}",
        f"dynamic_library_path=$libdir:{installed.debian / LIBRARIES}",
    )
    async with AsyncExitStack() as exits:
        command = postgres.command(folder, port, *settings)
        database = await _start(exits, folder, "postgres", command, os.environ, lambda: _answers(url))
        environment = _environment(folder, port, ports, shards)
        await _create_tables(url, installed.programs, environment)
        address = environment["PUBLIC_FRONTEND_ADDRESS"]
        command = [str(installed.programs / SERVER), "--allow-no-auth", "start"]
        server = await _start(exits, folder, SERVER, command, environment, lambda: _prepare(address))
        yield RealServer(address, {"temporal": server, "temporal's postgres": database}, url)


async def _start(
    exits: AsyncExitStack,
    folder: Path,
    name: str,
    command: list[str],
    environment: Mapping[str, str],
    probe: Callable[[], Awaitable[None]],
) -> int:
    """Start a server, wait until the probe raises nothing, and return its process id."""
    server = ServerProcess(name, name, command, environment, folder / f"logs/{name}.log")
    if name == "postgres":
        server.stop_signal = signal.SIGINT
    server.start()
    exits.push_async_callback(server.stop)
    async with asyncio.timeout(PATIENCE):
        while True:
            if not server.alive:
                raise SystemExit(server.death())
            with suppress(OSError, RuntimeError, RPCError, asyncpg.PostgresError):  # not yet
                await probe()
                break
            await asyncio.sleep(0.3)
    assert server.pid
    return server.pid


async def _answers(url: str) -> None:
    await (await asyncpg.connect(url)).close()


async def _create_tables(url: str, programs: Path, environment: Mapping[str, str]) -> None:
    connection = await asyncpg.connect(url)
    for database, schema in DATABASES.items():
        await connection.execute(f"CREATE DATABASE {database}")
        for arguments in (("setup-schema", "--version", "0.0"), ("update-schema", "-s", f"postgresql/v12/{schema}")):
            tool = await asyncio.create_subprocess_exec(
                *(programs / SQL_TOOL, "--database", database, *arguments),
                env=environment,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
            )
            output, _ = await tool.communicate()
            if tool.returncode:
                raise SystemExit(f"{SQL_TOOL} failed: {output.decode().strip().splitlines()[-1]}")
    await connection.close()


async def _prepare(address: str) -> None:
    """Create the namespace with our search attributes, which the server knows some seconds later."""
    client = await Client.connect(address, namespace=temporal.NAMESPACE)
    days = Duration(seconds=int(timedelta(days=30).total_seconds()))
    request = RegisterNamespaceRequest(namespace=temporal.NAMESPACE, workflow_execution_retention_period=days)
    with suppress(RPCError):  # it exists
        await client.workflow_service.register_namespace(request)
    await temporal.prepare(client)
    for name in SEARCH_ATTRIBUTES:
        await client.count_workflows(f"{name} = 'none'")


def _environment(folder: Path, database_port: int, ports: Ports, shards: int) -> dict[str, str]:
    """Return the variables that both programs read."""
    password = postgres.password(folder, postgres.SUPERUSER)
    frontend = ports.choose("FRONTEND_GRPC", "FRONTEND_GRPC", 0)
    names = [f"{service}_{kind}" for service in SERVICES for kind in ("GRPC", "MEMBERSHIP")] + ["FRONTEND_HTTP"]
    own = {f"{name}_PORT": str(ports.choose(name, name, 0)) for name in names if name != "FRONTEND_GRPC"}
    return {
        **os.environ,
        **own,
        "FRONTEND_GRPC_PORT": str(frontend),
        "PUBLIC_FRONTEND_ADDRESS": f"{LOOPBACK}:{frontend}",
        "BIND_ON_IP": LOOPBACK,
        "TEMPORAL_BROADCAST_ADDRESS": LOOPBACK,
        "DB": "postgres12",
        "DB_PORT": str(database_port),
        "POSTGRES_SEEDS": LOOPBACK,
        "POSTGRES_USER": postgres.SUPERUSER,
        "POSTGRES_PWD": password,
        "NUM_HISTORY_SHARDS": str(shards),
        "DYNAMIC_CONFIG_FILE_PATH": str(CODE / "deploy/temporal/dynamic-config.yaml"),
        "LOG_LEVEL": "warn",
        "SQL_PLUGIN": "postgres12",
        "SQL_HOST": LOOPBACK,
        "SQL_PORT": str(database_port),
        "SQL_USER": postgres.SUPERUSER,
        "SQL_PASSWORD": password,
    }
