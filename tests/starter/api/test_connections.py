"""Connections that send nothing, little, or too much, to the API as a program."""

import os
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from commerce.errors import SettingsError
from starter.api import connections
from starter.api.connections import MAX_HEAD_BYTES, MAX_PIPELINED, MIN_CONNECTIONS, PROBE_CONNECTIONS, Limits
from tests.conftest import free_port
from tests.forks import Program
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT

pytestmark = pytest.mark.programs

LIVE = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
DECODE = b"POST /codec/default/decode HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TOKEN = "a-token-of-the-shop"
ANSWER_SECONDS = 120.0  # until a test gives up


class Api:
    """A running API and its log."""

    def __init__(self, folder: Path, *constants: str, files: int | None = None, **variables: str) -> None:
        self.port, self.log = free_port(), folder / "api.log"
        environment = {
            "PYTHONPATH": str(ROOT),
            "COMMERCE_API_PORT": str(self.port),
            "TEMPORAL_ADDRESS": f"127.0.0.1:{free_port()}",
            **ENCRYPTION_ENV,
            **variables,
        }
        arguments = (*constants, f"files={files}") if files else constants
        self.process = Program("tests.starter.api.program", environment, folder, self.log, arguments)
        deadline = time.monotonic() + ANSWER_SECONDS
        while not self.is_live():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def is_live(self) -> bool:
        with suppress(OSError), self.connect() as connection:
            connection.sendall(LIVE)
            return connection.recv(100).startswith(b"HTTP/1.1 200")
        return False

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS)

    def send(self, data: bytes) -> bytes:
        """Send bytes and return everything that comes back until the connection is closed."""
        with self.connect() as connection:
            with suppress(OSError):
                connection.sendall(data)
            return read_all(connection)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Api]]:
    started: list[Api] = []

    def start(*constants: str, **options: Any) -> Api:
        started.append(Api(tmp_path, *constants, **options))
        return started[-1]

    yield start
    for api in started:
        api.process.kill()
        api.process.wait()


def read_all(connection: socket.socket) -> bytes:
    received = b""
    with suppress(ConnectionResetError):
        while more := connection.recv(65_536):
            received += more
    return received


def status(response: bytes) -> bytes:
    return response.partition(b"\r\n")[0].removeprefix(b"HTTP/1.1 ")


@pytest.mark.parametrize("variables", [{}, {"COMMERCE_API_TOKENS": TOKEN}], ids=["without tokens", "with tokens"])
def test_idle_connections_do_not_make_it_deaf(start: Callable[..., Api], variables: dict[str, str]) -> None:
    api = start(files=1_024, **variables)
    with ExitStack() as stack:
        for _ in range(1_030):
            stack.enter_context(api.connect())
        assert api.is_live()
        for _ in range(1_030):
            stack.enter_context(api.connect())
        assert api.is_live()
    assert api.log.read_text().count("\n") < 10
    assert "too many connections: one that sent no request is closed" in api.log.read_text()


def test_connections_that_send_no_complete_request_are_closed_in_time(start: Callable[..., Api]) -> None:
    api = start("HEAD_SECONDS=1")
    with api.connect() as silent, api.connect() as partial, api.connect() as blank, api.connect() as second:
        partial.sendall(LIVE[:-2])
        second.sendall(LIVE + LIVE[:-2])
        dripping = threading.Thread(target=drip, args=(blank, b"\r\n"))
        dripping.start()
        assert [read_all(connection) for connection in (silent, partial, blank)] == [b"", b"", b""]
        assert status(read_all(second)) == b"200 OK"
        dripping.join()
    assert api.is_live()


def drip(connection: socket.socket, data: bytes) -> None:
    """Send bytes every now and then until the connection is closed."""
    with suppress(OSError):
        while True:
            connection.sendall(data)
            time.sleep(0.2)


def test_a_body_that_does_not_arrive_in_time_is_refused(start: Callable[..., Api]) -> None:
    api = start("BODY_SECONDS=1")
    for length in (b"Content-Length: 10\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n5\r\n"):
        response = api.send(DECODE + length + b"{")
        assert status(response) == b"408 Request Timeout"
        assert b'{"error":"The body did not arrive in time","code":"RequestTimeout"}' in response
    assert api.is_live()


def test_a_long_wait_for_a_response_is_not_cut_off(start: Callable[..., Api]) -> None:
    """The readiness check waits two seconds for a database that does not answer."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgresql://commerce@127.0.0.1:{silent.getsockname()[1]}/x"
        api = start("HEAD_SECONDS=0.5", "BODY_SECONDS=0.5", COMMERCE_DATABASE_URL=url)
        response = api.send(LIVE.replace(b"live", b"ready").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert status(response) == b"503 Service Unavailable" and b"NotReady" in response


def test_at_the_limit_with_all_connections_busy_probes_are_answered(start: Callable[..., Api]) -> None:
    api = start("HEAD_SECONDS=600", COMMERCE_API_CONNECTIONS=str(MIN_CONNECTIONS))
    with ExitStack() as stack:
        for _ in range(MIN_CONNECTIONS):
            busy = stack.enter_context(api.connect())
            busy.sendall(DECODE + b"Content-Length: 10\r\n\r\n{")
        time.sleep(1)
        assert api.is_live()
        response = api.send(LIVE.replace(b"/health/live", b"/workflows"))
        assert status(response) == b"503 Service Unavailable"
        assert b'{"error":"Too many open connections","code":"TooManyConnections"}' in response
        for _ in range(PROBE_CONNECTIONS):
            more = stack.enter_context(api.connect())
            more.sendall(DECODE + b"Content-Length: 10\r\n\r\n{")
            read_all(more)  # 503, and closed
        for _ in range(2 * PROBE_CONNECTIONS):
            stack.enter_context(api.connect())
        assert api.is_live()
    assert api.log.read_text().count("too many connections: only probes are answered") == 1


@pytest.mark.parametrize(
    ("authorization", "wanted"),
    [(b"", b"401 Unauthorized"), (f"Authorization: Bearer {TOKEN}\r\n".encode(), b"413 Request Entity Too Large")],
)
def test_a_body_of_tiny_chunks_does_not_block_others(
    start: Callable[..., Api], authorization: bytes, wanted: bytes
) -> None:
    api = start(COMMERCE_API_TOKENS=TOKEN)
    body = b"1\r\nx\r\n" * 1024 * 1024
    assert status(api.send(DECODE + authorization + b"Transfer-Encoding: chunked\r\n\r\n" + body)) == wanted
    assert cpu_seconds(api.process.pid) < 5  # h11 needs more for the body alone
    assert api.is_live()


def cpu_seconds(process_id: int) -> float:
    fields = Path(f"/proc/{process_id}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    ("request_bytes", "wanted"),
    [
        (b"NONSENSE\r\n\r\n", b"400 Bad Request"),
        (LIVE[:-2] + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", b"431 Request Header Fields Too Large"),
        (LIVE[:-2] + b"Content-Length: " + b"9" * 5_000 + b"\r\n\r\n", b"400 Bad Request"),
        (LIVE[:-2] + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"200 OK"),
    ],
    ids=["no HTTP", "large headers", "long number", "bad chunk after the response"],
)
def test_what_is_not_http_is_refused_with_an_error_of_our_shape(
    start: Callable[..., Api], request_bytes: bytes, wanted: bytes
) -> None:
    api = start("HEAD_SECONDS=600")
    for _ in range(20):
        response = api.send(request_bytes)
        if status(response) != wanted:
            assert (wanted, status(response)) == (b"200 OK", b"400 Bad Request")  # the chunk came before the response
        assert b'"code":"BadRequest"' in response or wanted == b"200 OK"
    assert api.is_live()
    assert api.log.read_text().count("\n") < 10


def test_too_many_pipelined_requests_are_refused(start: Callable[..., Api]) -> None:
    api = start()
    assert api.send(LIVE * 10_000).count(b"HTTP/1.1 200 OK") <= MAX_PIPELINED + 1
    assert api.is_live()


def test_a_client_that_does_not_read_is_closed(start: Callable[..., Api]) -> None:
    api = start("STALL_SECONDS=1")
    request = LIVE.replace(b"/health/live", b"/docs/files/swagger-ui-bundle.js")
    with api.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.sendall(request * 5)
        deadline = time.monotonic() + ANSWER_SECONDS
        while "its client does not read" not in api.log.read_text():
            assert time.monotonic() < deadline, api.log.read_text()
            time.sleep(0.1)
    assert httpx.get(f"http://127.0.0.1:{api.port}/docs/files/swagger-ui-bundle.js", trust_env=False).is_success


class TestLimits:
    @pytest.fixture
    def files(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], SimpleNamespace]:
        """Set the soft and the hard limit of open files, and return what the code sets them to."""

        def limit(soft: int, hard: int) -> SimpleNamespace:
            state = SimpleNamespace(limits=(soft, hard))
            monkeypatch.setattr(connections.resource, "getrlimit", lambda _: state.limits)
            monkeypatch.setattr(connections.resource, "setrlimit", lambda _, new: setattr(state, "limits", new))
            return state

        return limit

    @pytest.mark.parametrize(
        ("soft", "hard", "connections", "allowed"),
        [
            (1_024, 1_024, 512, 512),
            (1_024, 1_024, 10_000, 716),
            (1_024, 524_288, 10_000, 10_000),
            (256, 256, 512, 92),
            (resource.RLIM_INFINITY, resource.RLIM_INFINITY, 512, 512),
        ],
    )
    def test_the_limit_is_below_that_of_open_files(
        self, files: Callable[[int, int], SimpleNamespace], soft: int, hard: int, connections: int, allowed: int
    ) -> None:
        state = files(soft, hard)
        limits = Limits(connections)
        assert limits.connections == allowed
        assert state.limits[0] == resource.RLIM_INFINITY or state.limits[0] > allowed + PROBE_CONNECTIONS

    def test_too_few_open_files_stop_the_start(self, files: Callable[[int, int], SimpleNamespace]) -> None:
        files(100, 100)
        with pytest.raises(SettingsError) as error:
            Limits(512)
        assert str(error.value) == "The limit of open files is too low for the API: ulimit -n 100; set at least 256"
