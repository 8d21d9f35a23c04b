"""The running children of a stack: started until ready, started again when they die, stopped in order."""

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from starter.devstack import orphans
from starter.devstack.data_folder import FAILED, UNREACHABLE, USAGE, StackError
from starter.devstack.probes import Probe
from starter.devstack.server_process import ServerProcess

START_SECONDS = 60.0  # a server that is not ready by then is given up
START_DEATHS = 3  # a server that died as often before it was ready is given up
PROBE_SECONDS = 0.1


class Supervisor:
    """Children of one data folder, on record there while they run."""

    def __init__(self, data_dir: Path, say: Callable[[str], None], changed: Callable[[], None]) -> None:
        """Take the folder, where to say what happens, and whom to tell that process numbers changed."""
        self._data_dir, self._say, self._changed = data_dir, say, changed
        self._children: dict[str, ServerProcess] = {}
        self._keepers: list[asyncio.Task[None]] = []

    @property
    def pids(self) -> dict[str, int | None]:
        """The process number of every child by name."""
        return {name: child.pid for name, child in self._children.items()}

    async def start(self, child: ServerProcess, probe: Probe, *, port: int | None = None) -> None:
        """Start a child, keep it running from now on, return when it is ready; raises StackError, OSError."""
        self._children[child.name] = child
        self._launch(child)
        self._keepers.append(asyncio.create_task(self._keep(child)))
        await self._until_ready(child, probe)
        where = f" on {port}" if port else ""
        self._say(f"{child.label} is ready{where} ({time.time() - child.created:.1f} s)")

    async def keep(self) -> None:
        """Keep the children running until cancelled."""
        await asyncio.gather(*self._keepers)

    async def stop(self, order: Sequence[Sequence[str]]) -> None:
        """Stop the children group by group, each within its own time; when cut short, kill what is left."""
        for keeper in self._keepers:
            keeper.cancel()
        try:
            for names in order:
                await asyncio.gather(*(self._children[name].stop() for name in names if name in self._children))
        finally:
            for child in self._children.values():
                child.kill()
        await self._end_keepers()

    async def _end_keepers(self) -> None:
        for outcome in await asyncio.gather(*self._keepers, return_exceptions=True):
            if isinstance(outcome, Exception):  # not its cancellation
                raise outcome

    async def _until_ready(self, child: ServerProcess, probe: Probe) -> None:
        deadline = time.monotonic() + START_SECONDS
        while (reason := await probe()) is not None or not child.alive:
            if child.deaths >= START_DEATHS or child.code == USAGE:
                raise StackError(child.death(), child.code if child.code in (USAGE, UNREACHABLE) else FAILED)
            if time.monotonic() > deadline:
                raise StackError(f"{child.label} is not ready after {START_SECONDS:.0f} s: {reason}", UNREACHABLE)
            await asyncio.sleep(PROBE_SECONDS)

    async def _keep(self, child: ServerProcess) -> None:
        """Start a child again whenever it has died."""
        while True:
            await child.ended()
            wait = child.next_start()
            self._say(f"{child.death()}. It starts again in {wait:g} s; its log is {child.log}")
            await asyncio.sleep(wait)
            try:
                self._launch(child)
            except OSError as error:
                self._say(f"{child.label} cannot be started: {error}")
                continue
            self._say(f"{child.label} runs again")

    def _launch(self, child: ServerProcess) -> None:
        child.start()
        orphans.record(self._data_dir, self._children.values())
        self._changed()
