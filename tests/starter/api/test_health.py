"""The API without its backends, the shape of its errors, and the API as a program."""

import asyncio
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from temporalio.client import Client

from commerce.settings import load_settings
from starter.api import health
from starter.api.app import create_app
from starter.operate.worker_presence import is_worker_polling
from tests.forks import Program
from tests.full_disk import full_disk
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nothing listens on and no program can take."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def api_client(database_url: str, temporal_address: str) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"COMMERCE_DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal_address, **ENCRYPTION_ENV}
    app = create_app(load_settings(environment), environment)
    add_double_route(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        yield http


def add_double_route(app: FastAPI) -> None:
    """Add a route that doubles a number, and has a bug for 0."""

    @app.get("/double/{number}")
    def double(number: int) -> int:
        if number == 0:
            raise ValueError("postgresql://user:secret@host")
        return 2 * number


@pytest.fixture
async def http(closed_port: int) -> AsyncIterator[httpx.AsyncClient]:
    """A client of an API that can reach neither the database nor Temporal."""
    async for client in api_client(f"postgresql://commerce@127.0.0.1:{closed_port}/x", f"127.0.0.1:{closed_port}"):
        yield client


async def test_it_is_live_without_its_backends(http: httpx.AsyncClient) -> None:
    response = await http.get("/health/live")
    assert (response.status_code, response.json()) == (200, {"status": "live"})


async def test_readiness_names_everything_unavailable(http: httpx.AsyncClient) -> None:
    response = await http.get("/health/ready")
    assert response.status_code == 503
    assert response.json() == {
        "error": "Not ready",
        "code": "NotReady",
        "details": "database: does not answer; temporal: does not answer",
    }


async def test_backends_that_do_not_answer_are_given_two_seconds(silent_port: int) -> None:
    assert health.CHECK_SECONDS == 2
    async for http in api_client(f"postgresql://commerce@127.0.0.1:{silent_port}/x", f"127.0.0.1:{silent_port}"):
        response = await http.get("/health/ready", timeout=60)
        assert response.status_code == 503


async def test_backends_are_checked_concurrently(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "CHECK_SECONDS", 60)
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as database, socket.create_server(("127.0.0.1", 0)) as temporal:
        backends = (database, temporal)
        ports = [backend.getsockname()[1] for backend in backends]
        async for http in api_client(f"postgresql://commerce@127.0.0.1:{ports[0]}/x", f"127.0.0.1:{ports[1]}"):
            request = asyncio.create_task(http.get("/health/ready"))
            for backend in backends:
                backend.setblocking(False)
            connections = [(await loop.sock_accept(backend))[0] for backend in backends]
            assert all(map(is_open, connections))
            request.cancel()
            await asyncio.wait([request])
            for connection in connections:
                connection.close()


def is_open(connection: socket.socket) -> bool:
    """Return whether the other side has not closed a connection; it may have sent something."""
    connection.setblocking(False)
    try:
        return connection.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True


async def test_a_missing_worker_is_named(database_url: str, temporal_server: str) -> None:
    assert not await is_worker_polling(await Client.connect(temporal_server), "a queue without workers")
    async for http in api_client(database_url, temporal_server):
        response = await http.get("/health/ready")
        assert response.status_code in (200, 503)  # workers of other tests may have polled a moment ago
        assert response.json().get("details", "worker").startswith("worker")


async def test_a_full_disk_of_the_database_is_named(
    database_url: str, temporal_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "DISK_CHECK_INTERVAL", 0.0)
    async for http in api_client(database_url, temporal_server):
        assert "database" not in (await http.get("/health/ready")).json().get("details", "")
    async with full_disk(database_url, tmp_path):
        async for http in api_client(database_url, temporal_server):
            response = await http.get("/health/ready")
            assert response.status_code == 503
            assert "database: its disk is full" in response.json()["details"]


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, {"error": "Not Found", "code": "NotFound"}),
        ("POST", "/health/live", 405, {"error": "Method Not Allowed", "code": "MethodNotAllowed"}),
        ("GET", "/double/0", 500, {"error": "Internal error", "code": "InternalError"}),
    ],
)
async def test_errors_have_one_shape(
    http: httpx.AsyncClient, method: str, path: str, status: int, body: dict[str, str]
) -> None:
    response = await http.request(method, path)
    assert (response.status_code, response.json()) == (status, body)


async def test_bad_input_names_the_fields_without_their_values(http: httpx.AsyncClient) -> None:
    response = await http.get("/double/hunter2")
    assert response.status_code == 422
    assert (response.json()["error"], response.json()["code"]) == ("Invalid input", "BadInput")
    assert [field["field"] for field in response.json()["fields"]] == ["path.number"]
    assert "hunter2" not in response.text


@pytest.mark.programs
@pytest.mark.parametrize(
    "variables", [{}, {"COMMERCE_API_HOST": "0.0.0.0", "COMMERCE_API_TOKENS": "x" * 16}], ids=["loopback", "public"]
)
def test_the_program_serves_and_stops_cleanly(tmp_path: Path, closed_port: int, variables: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"COMMERCE_API_PORT": str(port), "TEMPORAL_ADDRESS": f"127.0.0.1:{closed_port}"}
    process = start_api(tmp_path, environment | variables)
    deadline = time.monotonic() + 120
    while not is_live(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, process.log.read_text()


@pytest.mark.programs
def test_it_refuses_to_listen_for_other_machines_without_tokens(tmp_path: Path) -> None:
    process = start_api(tmp_path, {"COMMERCE_API_HOST": "0.0.0.0"})
    assert process.wait() == 2
    assert (
        process.log.read_text()
        == "COMMERCE_API_HOST: other machines can reach 0.0.0.0: set COMMERCE_API_TOKENS first\n"
    )


@pytest.mark.programs
@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("COMMERCE_ENCRYPTION_KEYS", "", "COMMERCE_ENCRYPTION_KEYS or COMMERCE_ENCRYPTION_KEYS_FILE: there is no key"),
        ("COMMERCE_ENCRYPTION_KEYS_FILE", "/nowhere", "COMMERCE_ENCRYPTION_KEYS_FILE: /nowhere cannot be read: "),
        ("COMMERCE_API_TOKENS", "hunter2", "COMMERCE_API_TOKENS: each must have at least 16 characters"),
        ("TEMPORAL_PROFILE", "missing", "Temporal's settings (TEMPORAL_…) are invalid: Profile 'missing' not found"),
    ],
)
def test_a_wrong_setting_stops_the_start(tmp_path: Path, variable: str, value: str, message: str) -> None:
    keys = {"COMMERCE_ENCRYPTION_KEYS": ""} if variable.startswith("COMMERCE_ENCRYPTION") else {}
    process = start_api(tmp_path, {**keys, variable: value})
    code, output = process.wait(), process.log.read_text()
    assert (code, output.count("\n")) == (2, 1), output
    assert output.startswith(message)


@pytest.mark.programs
def test_a_port_in_use_is_reported(tmp_path: Path, silent_port: int) -> None:
    process = start_api(tmp_path, {"COMMERCE_API_PORT": str(silent_port)})
    assert process.wait() == 1
    in_use = f"[Errno 98] Address already in use: 127.0.0.1 port {silent_port}"
    assert process.log.read_text() == f"The API cannot listen: {in_use}\n"


def start_api(folder: Path, environment: dict[str, str]) -> Program:
    more = {"PYTHONPATH": str(ROOT), **ENCRYPTION_ENV, **environment}
    return Program("starter.api", more, folder, folder / "api.log")


def is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False
