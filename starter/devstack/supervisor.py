"""Supervise the servers of a stack: start until ready, restart when they die, stop in order."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from starter.devstack import orphans
from starter.devstack.errors import FAILED, UNREACHABLE, USAGE, StackError
from starter.devstack.probes import Probe
from starter.devstack.server_process import ServerProcess

START_SECONDS = 60.0  # then a server that is not ready counts as failed
START_DEATHS = 3  # before it was ready; then it counts as failed
PROBE_SECONDS = 0.1
ROTATE_SECONDS = 10.0


class Supervisor:
    """The servers of one data folder, which are recorded there while they run."""

    def __init__(self, data_dir: Path, echo: Callable[[str], None], on_restart: Callable[[], None]) -> None:
        """`echo` prints messages; `on_restart` is called whenever a server has a new process id."""
        self._data_dir, self._echo, self._on_restart = data_dir, echo, on_restart
        self._servers: dict[str, ServerProcess] = {}
        self._watchers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int | None]:
        """Process ids by server name."""
        return {name: server.pid for name, server in self._servers.items()}

    async def start(self, server: ServerProcess, probe: Probe, *, port: int | None = None) -> None:
        """Start a server, keep it running, and return when it is ready. Raises StackError, OSError."""
        self._servers[server.name] = server
        self._launch(server)
        self._watchers += [asyncio.create_task(self._watch(server)), asyncio.create_task(self._rotate_log(server))]
        await self._until_ready(server, probe)
        where = f" on {port}" if port else ""
        self._echo(f"{server.label} is ready{where} ({time.time() - server.created:.1f} s)")

    async def watch(self) -> None:
        """Keep the servers running until cancelled."""
        await asyncio.gather(*self._watchers)

    async def stop(self, order: Sequence[Sequence[str]]) -> None:
        """Stop the servers group by group, each within its grace period. If cancelled, kill the remaining ones."""
        for watcher in self._watchers:
            watcher.cancel()
        try:
            for names in order:
                await asyncio.gather(*(self._servers[name].stop() for name in names if name in self._servers))
        finally:
            for server in self._servers.values():
                server.kill()
        await self._await_watchers()

    async def _await_watchers(self) -> None:
        for outcome in await asyncio.gather(*self._watchers, return_exceptions=True):
            if isinstance(outcome, Exception):  # not its cancellation
                raise outcome

    async def _until_ready(self, server: ServerProcess, probe: Probe) -> None:
        deadline = time.monotonic() + START_SECONDS
        while (reason := await probe()) is not None or not server.alive:
            if server.deaths >= START_DEATHS or server.code == USAGE:
                raise StackError(server.death(), server.code if server.code in (USAGE, UNREACHABLE) else FAILED)
            if time.monotonic() > deadline:
                raise StackError(f"{server.label} is not ready after {START_SECONDS:.0f} s: {reason}", UNREACHABLE)
            await asyncio.sleep(PROBE_SECONDS)

    async def _watch(self, server: ServerProcess) -> None:
        """Restart a server whenever it dies."""
        while True:
            await server.ended()
            wait = server.restart_delay()
            self._echo(f"{server.death()}. Restarting in {wait:g} s; see its log {server.log}")
            await asyncio.sleep(wait)
            try:
                self._launch(server)
            except OSError as error:
                self._echo(f"{server.label} cannot be started: {error}")
                continue
            self._echo(f"{server.label} is running again")

    async def _rotate_log(self, server: ServerProcess) -> None:
        """Keep a server's log from filling the disk."""
        while True:
            await asyncio.sleep(ROTATE_SECONDS)
            try:
                await asyncio.to_thread(server.rotate_log)
            except OSError as error:
                self._echo(f"The log of {server.label} cannot be rotated: {error}")

    def _launch(self, server: ServerProcess) -> None:
        server.start()
        orphans.record(self._data_dir, self._servers.values())
        self._on_restart()
