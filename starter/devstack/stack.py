"""The embedded stack: everything the shop needs on one machine, started, supervised and stopped in order."""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from commerce.database import Database
from commerce.errors import SettingsError
from commerce.settings import load_environment, load_settings
from starter.client import connect
from starter.devstack import data_folder, orphans, postgres, probes, servers
from starter.devstack.errors import FAILED, USAGE, StackError
from starter.devstack.plan import Plan
from starter.devstack.server_process import ServerProcess
from starter.devstack.signals import cancel_on_signals
from starter.devstack.supervisor import Supervisor
from starter.schedules.apply import apply_schedules

INTERRUPTED = 130
# Errors from outside our code, which are reported in one line.
EXPECTED = (OSError, SettingsError, asyncpg.PostgresError, SQLAlchemyError, CommandError)
ADDRESSES = {
    "The console": "console_url",
    "Temporal's UI": "temporal_ui",
    "The API": "api_url",
    "The metrics": "metrics_url",
    "The mails": "mail_dir",
}


class Stack:
    """One embedded stack on one data folder: use `async with Stack(...)`, or `run()` until a signal arrives."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 9000,
        worker: bool = True,
        schedules: bool = True,
        defaults: Mapping[str, str] | None = None,
        echo: Callable[[str], None],
    ) -> None:
        """`port` is the API's (0: any free port for all servers); `echo` prints messages.

        Without `schedules` the jobs' schedules are created paused. `defaults`: variables that nothing else has set.
        """
        self.data_dir = data_dir.resolve()
        self._port, self._with_worker, self._with_schedules, self._echo = port, worker, schedules, echo
        self._defaults = dict(defaults or {})
        self._folder = contextlib.ExitStack()
        self._servers = Supervisor(self.data_dir, self._say, self._publish)
        self._plan: Plan
        self._ready = False

    @property
    def description(self) -> dict[str, Any]:
        """The content of `stack.json`: addresses, process ids, environment."""
        return self._plan.describe(self._servers.pids)

    @property
    def environment(self) -> dict[str, str]:
        """The complete environment of a program that uses this stack, for `load_settings` and `connect`."""
        return dict(self._plan.given) | self._plan.environment()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self) -> int:
        """Start, run until SIGINT, SIGTERM or SIGHUP, stop, and return the exit code. Raises StackError."""
        code = INTERRUPTED
        with cancel_on_signals() as interrupt:
            try:
                async with self:
                    code = 0
                    self._print_addresses()
                    await self._servers.watch()
            except asyncio.CancelledError:
                if not interrupt.happened:
                    raise
        return code

    async def start(self) -> None:
        """Start everything and return when all is ready. After a failure nothing is left running. Raises StackError."""
        began = time.monotonic()
        os.umask(data_folder.PRIVATE_UMASK)  # also that of the servers
        data_folder.create(self.data_dir)
        self._folder.enter_context(data_folder.locked(self.data_dir))
        try:
            await self._start()
        except EXPECTED as error:
            await self.stop()
            raise StackError(_one_line(error), USAGE if isinstance(error, SettingsError) else FAILED) from error
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        self._publish()
        self._say(f"Everything is ready ({time.monotonic() - began:.1f} s)")

    async def stop(self) -> None:
        """Stop everything in order, each server within its grace period. If cancelled, kill the remaining ones."""
        if self._ready:
            self._ready = False
            data_folder.remove_description(self.data_dir)
            self._say("Stopping …")
        try:
            await self._servers.stop(servers.STOP_ORDER)
        finally:
            self._folder.close()

    async def _start(self) -> None:
        await self._terminate_orphans()
        self._plan = await asyncio.to_thread(self._make_plan)
        await asyncio.to_thread(postgres.prepare, self.data_dir)
        await _in_parallel(self._start_core(), self._start_stand_ins(), self._start_api())

    async def _start_core(self) -> None:
        """Start PostgreSQL and Temporal, then the worker, which needs both."""
        await _in_parallel(self._start_database(), self._start_temporal())
        if not self._with_schedules:
            await apply_schedules(await connect(self.environment), load_settings(self.environment), paused=True)
        if self._with_worker:
            await self._start_worker()

    async def _terminate_orphans(self) -> None:
        """Terminate what a killed stack left running in this folder."""
        data_folder.remove_description(self.data_dir)
        if count := await asyncio.to_thread(orphans.terminate, self.data_dir):
            self._say(f"Terminated {count} processes left by an earlier stack")
        self._folder.callback(orphans.forget, self.data_dir)

    def _make_plan(self) -> Plan:
        return Plan.make(self.data_dir, load_environment(self.data_dir), self._port, self._say, self._defaults)

    async def _start_database(self) -> None:
        plan = self._plan
        await self._servers.start(
            servers.make_postgres(plan), lambda: probes.postgres_is_ready(plan), port=plan.ports["postgres"]
        )
        database = Database(plan.database_url())
        try:
            await database.migrate(plan.database_url(postgres.MIGRATOR))
        finally:
            await database.close()

    async def _start_temporal(self) -> None:
        plan = self._plan
        await self._servers.start(
            servers.make_temporal(plan), lambda: probes.temporal_is_ready(plan), port=plan.ports["temporal"]
        )

    async def _start_stand_ins(self) -> None:
        """Start the stand-ins for external services."""
        await _in_parallel(*(self._start_listener(child) for child in servers.make_stand_ins(self._plan)))

    async def _start_listener(self, child: ServerProcess) -> None:
        port = self._plan.ports[child.name]
        await self._servers.start(child, lambda: probes.port_is_open(port), port=port)

    async def _start_api(self) -> None:
        """Start the API, which does not need the others to start."""
        port = self._plan.ports["api"]
        await self._servers.start(
            servers.make_api(self._plan), lambda: probes.http_is_ok(port, "/health/live"), port=port
        )

    async def _start_worker(self) -> None:
        """Start the worker. It is ready when the API's readiness probe sees it polling."""
        port = self._plan.ports["api"]
        await self._servers.start(servers.make_worker(self._plan), lambda: probes.http_is_ok(port, "/health/ready"))

    def _print_addresses(self) -> None:
        """Print the addresses of interest to a person."""
        description = self.description
        for name, place in ADDRESSES.items():
            if description[place]:
                self._say(f"  {name:14} {description[place]}")
        self._say("Press Ctrl-C to stop everything")

    def _publish(self) -> None:
        if self._ready:
            data_folder.write_description(self.data_dir, self.description)

    def _say(self, line: str) -> None:
        """Print a message. A closed terminal must not stop the stack (rich would exit the program)."""
        with contextlib.suppress(OSError, SystemExit):
            self._echo(line)


async def _in_parallel(*steps: Coroutine[Any, Any, None]) -> None:
    """Run coroutines in parallel; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
