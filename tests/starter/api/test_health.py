"""The API while what it needs is away, and the one shape of its errors."""

import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from temporalio.client import Client

from commerce.settings import load_settings
from starter.api.app import create_app
from starter.operate.worker_presence import is_worker_polling
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT

BOUND_SECONDS = 3.0  # two checks side by side, 2 s each at most, and some air


@pytest.fixture
def nobody() -> Iterator[int]:
    """A port that nobody listens on, and nobody can take."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        yield closed.getsockname()[1]


@pytest.fixture
def mute() -> Iterator[int]:
    """A port where connections are taken, and never answered."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


async def calling(database_url: str, temporal_address: str) -> AsyncIterator[httpx.AsyncClient]:
    environment = {"COMMERCE_DATABASE_URL": database_url, "TEMPORAL_ADDRESS": temporal_address, **ENCRYPTION_ENV}
    app = create_app(load_settings(environment), environment)
    broken_routes(app)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://api") as http:
        yield http


def broken_routes(app: FastAPI) -> None:
    @app.get("/double/{number}")
    def double(number: int) -> int:
        if number == 0:
            raise ValueError("postgresql://user:secret@host")
        return 2 * number


@pytest.fixture
async def http(nobody: int) -> AsyncIterator[httpx.AsyncClient]:
    """An API that reaches nothing."""
    async for client in calling(f"postgresql://commerce@127.0.0.1:{nobody}/x", f"127.0.0.1:{nobody}"):
        yield client


async def test_it_lives_while_all_is_away(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health/live")
    assert (answer.status_code, answer.json()) == (200, {"status": "live"})


async def test_it_names_everything_that_is_away(http: httpx.AsyncClient) -> None:
    answer = await http.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {
        "error": "Not ready",
        "details": "database: does not answer; temporal: does not answer",
    }


async def test_servers_that_do_not_answer_are_waited_for_two_seconds(mute: int) -> None:
    async for http in calling(f"postgresql://commerce@127.0.0.1:{mute}/x", f"127.0.0.1:{mute}"):
        began = time.monotonic()
        answer = await http.get("/health/ready", timeout=30)
        assert answer.status_code == 503
        assert time.monotonic() - began < BOUND_SECONDS


async def test_a_missing_worker_is_named(database_url: str, temporal_server: str) -> None:
    assert not await is_worker_polling(await Client.connect(temporal_server), "nobody works here")
    async for http in calling(database_url, temporal_server):
        answer = await http.get("/health/ready")
        assert answer.status_code in (200, 503)  # workers of other tests may have polled just now
        assert answer.json().get("details", "worker").startswith("worker")


@pytest.mark.parametrize(
    ("method", "path", "status", "body"),
    [
        ("GET", "/nowhere", 404, {"error": "Not Found"}),
        ("POST", "/health/live", 405, {"error": "Method Not Allowed"}),
        ("GET", "/double/0", 500, {"error": "Internal error"}),
    ],
)
async def test_errors_have_one_shape(
    http: httpx.AsyncClient, method: str, path: str, status: int, body: dict[str, str]
) -> None:
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()) == (status, body)


async def test_bad_input_names_fields_and_no_values(http: httpx.AsyncClient) -> None:
    answer = await http.get("/double/hunter2")
    assert answer.status_code == 422
    assert answer.json()["error"] == "Invalid input"
    assert [field["field"] for field in answer.json()["fields"]] == ["path.number"]
    assert "hunter2" not in answer.text


@pytest.mark.parametrize(
    "more", [{}, {"COMMERCE_API_HOST": "0.0.0.0", "COMMERCE_API_TOKENS": "x" * 16}], ids=["loopback", "beyond"]
)
def test_it_serves_alone_and_stops_clean(tmp_path: Path, nobody: int, more: dict[str, str]) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {"COMMERCE_API_PORT": str(port), "TEMPORAL_ADDRESS": f"127.0.0.1:{nobody}"}
    process = api(tmp_path, environment | more)
    deadline = time.monotonic() + 60
    while not is_live(port):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 0, said


def test_it_refuses_to_listen_beyond_loopback(tmp_path: Path) -> None:
    process = api(tmp_path, {"COMMERCE_API_HOST": "0.0.0.0"})
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert said == b"COMMERCE_API_HOST: 0.0.0.0 is beyond loopback, which needs COMMERCE_API_TOKENS first\n"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("COMMERCE_ENCRYPTION_KEYS", "", "COMMERCE_ENCRYPTION_KEYS or COMMERCE_ENCRYPTION_KEYS_FILE: there is no key"),
        ("COMMERCE_ENCRYPTION_KEYS_FILE", "/nowhere", "COMMERCE_ENCRYPTION_KEYS_FILE: /nowhere cannot be read: "),
        ("COMMERCE_API_TOKENS", "hunter2", "COMMERCE_API_TOKENS: each must have at least 16 characters"),
        ("TEMPORAL_PROFILE", "nobody's", "Temporal's settings (TEMPORAL_…) do not work: Profile 'nobody's' not found"),
    ],
)
def test_a_wrong_setting_stops_the_start(tmp_path: Path, variable: str, value: str, says: str) -> None:
    keys = {"COMMERCE_ENCRYPTION_KEYS": ""} if variable.startswith("COMMERCE_ENCRYPTION") else {}
    process = api(tmp_path, {**keys, variable: value})
    said, _ = process.communicate(timeout=60)
    assert (process.returncode, said.count(b"\n")) == (2, 1), said
    assert said.decode().startswith(says)


def test_it_says_that_its_port_is_in_use(tmp_path: Path, mute: int) -> None:
    process = api(tmp_path, {"COMMERCE_API_PORT": str(mute)})
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said == f"The API cannot listen: [Errno 98] Address already in use: 127.0.0.1 port {mute}\n".encode()


def api(folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "starter.api"],
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), **ENCRYPTION_ENV, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )


def is_live(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live", trust_env=False).is_success
    except httpx.TransportError:
        return False
