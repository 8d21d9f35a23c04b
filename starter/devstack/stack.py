"""Everything the shop needs on one machine, started in the right order, kept running, stopped in the right order."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
from alembic.util import CommandError
from sqlalchemy.exc import SQLAlchemyError

from commerce.database import Database
from commerce.settings import SettingsError, load_environment, load_settings
from starter.client import connect
from starter.devstack import data_folder, orphans, postgres, probes, servers
from starter.devstack.data_folder import USAGE, StackError
from starter.devstack.plan import Plan
from starter.devstack.server_process import ServerProcess
from starter.devstack.signals import interruptible
from starter.devstack.supervisor import Supervisor
from starter.schedules.apply import apply_schedules

INTERRUPTED = 130
# What can go wrong outside our code; told in one line.
EXPECTED = (OSError, SettingsError, postgres.PostgresError, asyncpg.PostgresError, SQLAlchemyError, CommandError)
PLACES = {
    "Temporal's UI": "temporal_ui",
    "The API": "api_url",
    "The metrics": "metrics_url",
    "The mails": "mail_dir",
}


class Stack:
    """One embedded stack on one data folder: `async with Stack(...)`, or `run()` until a signal comes."""

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 9000,
        worker: bool = True,
        schedules: bool = True,
        echo: Callable[[str], None],
    ) -> None:
        """Take the folder, the API's port (0: any, for every server), and where to say what happens.

        Without `schedules` those of the jobs are created paused.
        """
        self.data_dir = data_dir.resolve()
        self._port, self._with_worker, self._with_schedules, self._echo = port, worker, schedules, echo
        self._folder = contextlib.ExitStack()
        self._family = Supervisor(self.data_dir, self._say, self._publish)
        self._plan: Plan
        self._ready = False

    @property
    def description(self) -> dict[str, Any]:
        """What `stack.json` says: addresses, process numbers, environment."""
        return self._plan.describe(self._family.pids)

    @property
    def environment(self) -> dict[str, str]:
        """The whole environment of a program that uses this stack, for `load_settings` and `connect`."""
        return dict(self._plan.own) | self._plan.environment()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self) -> int:
        """Start, stay up until SIGINT, SIGTERM or SIGHUP, stop; returns the exit code. Raises StackError."""
        code = INTERRUPTED
        with interruptible() as interrupt:
            try:
                async with self:
                    code = 0
                    self._tell_places()
                    await self._family.keep()
            except asyncio.CancelledError:
                if not interrupt.happened:
                    raise
        return code

    async def start(self) -> None:
        """Start everything and return when all is ready; after a failure nothing runs. Raises StackError."""
        began = time.monotonic()
        data_folder.make(self.data_dir)
        self._folder.enter_context(data_folder.held(self.data_dir))
        try:
            await self._start()
        except EXPECTED as error:
            await self.stop()
            raise StackError(
                _one_line(error), USAGE if isinstance(error, SettingsError) else data_folder.FAILED
            ) from error
        except BaseException:
            await self.stop()
            raise
        self._ready = True
        self._publish()
        self._say(f"All is ready ({time.monotonic() - began:.1f} s)")

    async def stop(self) -> None:
        """Stop everything in order, each server within its time; when cancelled, kill what is left."""
        if self._ready:
            self._ready = False
            data_folder.remove_stack(self.data_dir)
            self._say("Stopping …")
        try:
            await self._family.stop(servers.STOP_ORDER)
        finally:
            self._folder.close()

    async def _start(self) -> None:
        await self._clear()
        self._plan = await asyncio.to_thread(self._make_plan)
        await asyncio.to_thread(postgres.prepare, self.data_dir)
        await _together(self._start_core(), self._start_outside(), self._start_api())

    async def _start_core(self) -> None:
        """Start database and Temporal, then the worker, which needs both."""
        await _together(self._start_database(), self._start_temporal())
        if not self._with_schedules:
            await apply_schedules(await connect(self.environment), load_settings(self.environment), paused=True)
        if self._with_worker:
            await self._start_worker()

    async def _clear(self) -> None:
        """End what a killed stack left in this folder."""
        data_folder.remove_stack(self.data_dir)
        if count := await asyncio.to_thread(orphans.end, self.data_dir):
            self._say(f"Ended {count} processes that an earlier stack had left behind")
        self._folder.callback(orphans.forget, self.data_dir)

    def _make_plan(self) -> Plan:
        return Plan.make(self.data_dir, load_environment(self.data_dir), self._port, self._say)

    async def _start_database(self) -> None:
        plan = self._plan
        await self._family.start(
            servers.make_postgres(plan), lambda: probes.database(plan), port=plan.ports["postgres"]
        )
        database = Database(plan.database_url())
        try:
            await database.migrate()
        finally:
            await database.close()

    async def _start_temporal(self) -> None:
        plan = self._plan
        await self._family.start(
            servers.make_temporal(plan), lambda: probes.workflows(plan), port=plan.ports["temporal"]
        )

    async def _start_outside(self) -> None:
        """Start what stands for the world outside."""
        await _together(*(self._start_listener(child) for child in servers.make_outside(self._plan)))

    async def _start_listener(self, child: ServerProcess) -> None:
        port = self._plan.ports[child.name]
        await self._family.start(child, lambda: probes.listens(port), port=port)

    async def _start_api(self) -> None:
        """Start the API, which waits for nothing."""
        port = self._plan.ports["api"]
        await self._family.start(servers.make_api(self._plan), lambda: probes.answers(port, "/health/live"), port=port)

    async def _start_worker(self) -> None:
        """Start the worker; that it polls is told by the API, which then is ready too."""
        port = self._plan.ports["api"]
        await self._family.start(servers.make_worker(self._plan), lambda: probes.answers(port, "/health/ready"))

    def _tell_places(self) -> None:
        """Say where a person may look."""
        facts = self.description
        for name, place in PLACES.items():
            if facts[place]:
                self._say(f"  {name:14} {facts[place]}")
        self._say("Everything stays up until Ctrl-C")

    def _publish(self) -> None:
        if self._ready:
            data_folder.write_stack(self.data_dir, self.description)

    def _say(self, line: str) -> None:
        """Tell the user; whether somebody still reads is nothing that a stack ends of (rich would end the program)."""
        with contextlib.suppress(OSError, SystemExit):
            self._echo(line)


async def _together(*steps: Coroutine[Any, Any, None]) -> None:
    """Run steps side by side; the first failure cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(step)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None


def _one_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
