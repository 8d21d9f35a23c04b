"""What the embedded Python servers share: their arguments, their socket, and a clean stop on a signal."""

import argparse
import asyncio
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import uvicorn
from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from starter.browser_requests import LOOPBACK_HOSTS, READS, has_host, is_from_foreign_page
from starter.telemetry.exit import exit_process

LOOPBACK = "127.0.0.1"
STOP_TIMEOUT = 2  # seconds that open requests get to finish
DATE_SECONDS = 1  # how often the responses' `Date` is renewed

log = logging.getLogger(__name__)


def listen(port: int, host: str = LOOPBACK) -> socket.socket:
    """Return a socket bound to this port (0: any free one) of this interface. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Name the protocol: only then does asyncio set TCP_NODELAY, without which responses wait 40 ms.
    bound = socket.socket(family, proto=socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError:
        bound.close()
        raise
    return bound


class _Server(uvicorn.Server):
    """A server that signals when it is ready, stops at once and installs no signal handlers.

    uvicorn looks ten times a second whether it should stop, and pauses once more when it does.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = asyncio.Event()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Let `serve` end."""
        self.should_exit = True
        self._stopping.set()

    async def main_loop(self) -> None:
        """Keep the responses' `Date` current until `stop` is called."""
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), DATE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close all connections; those with an open request get STOP_TIMEOUT to finish."""
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # connections without a request are closed now
        if self.server_state.connections or self.server_state.tasks:
            await super().shutdown(sockets)
        else:
            await self.lifespan.shutdown()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start; a failure is raised where the server is awaited."""
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing: uvicorn would raise the signal again after its clean stop."""
        yield


@asynccontextmanager
async def serving(app: FastAPI, port: int, host: str = LOOPBACK, **options: Any) -> AsyncIterator[str]:
    """Serve an app during the block; yields its URL. `options` are uvicorn's."""
    bound = listen(port, host)
    name = f"[{host}]" if ":" in host else host
    url = f"http://{name}:{bound.getsockname()[1]}"
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=STOP_TIMEOUT, **options
    )
    server = _Server(config)
    running = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        await server.ready.wait()
        yield url
    finally:
        server.stop()
        await running
        bound.close()


class BrowserGuard:
    """Responds with 403 to requests that a web page must not make: the embedded servers require no key.

    Pages of other origins may not write, and a server on the loopback interface has no other host name.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        """Guard an app that is served on the interface `host`."""
        self._app = app
        self._hosts = LOOPBACK_HOSTS if host in LOOPBACK_HOSTS else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond with 403, or pass the request on to the app."""
        if scope["type"] == "http" and (
            (self._hosts and not has_host(scope, self._hosts))
            or (scope["method"] not in READS and is_from_foreign_page(scope))
        ):
            return await JSONResponse({"detail": "A page of another site may not do this"}, 403)(scope, receive, send)
        return await self._app(scope, receive, send)


async def wait_for_stop_signal() -> None:
    """Wait for SIGTERM or SIGINT."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()


async def serve_until_stopped(running: AbstractAsyncContextManager[str]) -> None:
    """Run a server, whose block yields its URL, until SIGTERM or SIGINT."""
    async with running as url:
        log.info("listening on %s", url)
        await wait_for_stop_signal()


class Arguments(NamedTuple):
    """The folder of a server and the address it listens on."""

    folder: Path
    port: int
    host: str


def parse_arguments(description: str, folder_option: str) -> Arguments:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(folder_option, dest="folder", type=Path, required=True, help="where to store everything")
    parser.add_argument("--port", type=int, required=True, help="port to listen on; 0: any free one")
    parser.add_argument("--host", default=LOOPBACK, help="address to listen on; 0.0.0.0 in a container, or ::")
    parsed = parser.parse_args()
    return Arguments(parsed.folder, parsed.port, parsed.host)


def run(name: str, server: Callable[[], Coroutine[Any, Any, None]]) -> NoReturn:
    """Run a server until a stop signal, then exit with 0; exits with 1 and one line if it cannot listen."""
    logging.basicConfig(level=logging.INFO, format=f"{name}: %(message)s")
    try:
        asyncio.run(server())
    except OSError as error:
        log.error("cannot serve: %s", error)
        exit_process(1)
    exit_process(0)
