"""`python -m starter.api`: runs the API server."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

import uvicorn
from fastapi import FastAPI

from commerce.errors import SettingsError
from commerce.settings import Settings, load_environment, load_settings
from commerce.telemetry import logs
from starter.api.app import create_app, release_waiting_requests
from starter.api.connections import Limits, OncePerMinute, limited_protocol
from starter.telemetry import tracing
from starter.telemetry.exit import exit_process

FAILED, USAGE = 1, 2
SERVICE = "commerce-api"  # its name in traces
KERNEL_BACKLOG = 1024  # connections that wait to be accepted
STOP_SECONDS = 5  # the time that open requests have to finish

log = logging.getLogger("commerce.api")


class _Server(uvicorn.Server):
    """Handles signals itself: uvicorn would raise them again after its clean stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, with a longer queue in the kernel than asyncio accepts at once."""
        await super().startup(sockets)
        for listening in sockets or []:
            listening.listen(KERNEL_BACKLOG)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop, ending the requests that wait for a process."""
        release_waiting_requests(self._app)
        super().handle_exit(sig, frame)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self.handle_exit, number, None)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `commerce api` has blocked it
        yield


def main() -> NoReturn:
    """Serve until SIGTERM or SIGINT. Exit codes: 0 stopped, 1 cannot listen, 2 invalid settings."""
    try:
        environment = load_environment()
        settings = load_settings(environment)
        logs.configure(settings)
        app = create_app(settings, environment)
        if traces := tracing.start(settings, SERVICE):
            traces.instrument_libraries()
            traces.instrument_api(app)
        limits = Limits(settings.api_connections)
        bound = _bind_socket(settings)
    except SettingsError as error:
        _fail(str(error), USAGE)
    except OSError as error:
        _fail(f"The API cannot listen: {error}", FAILED)
    config = uvicorn.Config(
        app,
        http=limited_protocol(limits),
        backlog=limits.backlog,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    for library in ("uvicorn.error", "asyncio"):
        logging.getLogger(library).addFilter(OncePerMinute(limits))
    for warning in settings.warnings:
        log.warning(warning)
    with bound:
        log.info("The API listens on %s port %d", *bound.getsockname()[:2])
        asyncio.run(_Server(config, app).serve(sockets=[bound]))
    log.info("The API stopped")
    exit_process(0)


def _bind_socket(settings: Settings) -> socket.socket:
    """Return a socket bound to the configured address.

    Raises SettingsError if other machines could reach it and no token is set, OSError if it is in use.
    """
    host, port = settings.api_host, settings.api_port
    if not (settings.is_local or settings.api_tokens):
        raise SettingsError(f"COMMERCE_API_HOST: other machines can reach {host}: set COMMERCE_API_TOKENS first")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)  # TCP, or asyncio keeps Nagle's delay
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise OSError(error.errno, f"{error.strerror}: {host} port {port}") from error
    return bound


def _fail(message: str, code: int) -> NoReturn:
    sys.stderr.write(f"{message}\n")
    exit_process(code)


if __name__ == "__main__":
    main()
