"""The workers of a chaos run. Each can be killed or stopped at any time, and another one takes its place."""

import asyncio
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.forks import Program
from tests.system.workers import DEADLINE, WORKER_READY, wait_until

UNREACHABLE = "The database is unavailable"  # a worker ends with this message if it cannot reach the database
PAUSE = 0.3  # seconds before such a worker is started again


class Crew:
    """A number of workers that always run, but for the moments in which one is replaced."""

    def __init__(self, size: int, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._workers: list[_Worker | None] = [None] * size  # None: it is being replaced
        self._launched: list[_Worker] = []

    async def start(self) -> None:
        """Start all workers."""
        await asyncio.gather(*(self._fill(number) for number in range(len(self._workers))))

    async def kill(self, number: int, pause: float) -> bool:
        """Kill a worker, and start another one after a pause. Return False if it is being replaced already."""
        worker, self._workers[number] = self._workers[number], None
        if worker is None:
            return False
        worker.process.kill()
        await worker.wait_for_end()
        await asyncio.sleep(pause)
        await self._fill(number)
        return True

    async def restart(self, number: int) -> bool:
        """Stop a worker with SIGTERM, and start another one at once. Return False if it is being replaced already."""
        worker, self._workers[number] = self._workers[number], None
        if worker is None:
            return False
        worker.process.send_signal(signal.SIGTERM)
        await asyncio.gather(worker.wait_for_end(), self._fill(number))
        return True

    async def freeze(self, number: int, seconds: float) -> bool:
        """Stop a worker from doing anything for some seconds, as a machine under pressure does.

        What it was doing, it does later. Return False if it is being replaced already.
        """
        worker = self._workers[number]
        if worker is None:
            return False
        worker.process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(seconds)
        worker.process.send_signal(signal.SIGCONT)
        return True

    async def end(self) -> None:
        """Kill all workers."""
        for worker in self._launched:
            worker.process.kill()
            await worker.wait_for_end()

    async def _fill(self, number: int) -> None:
        """Start a worker as a supervisor does: again, while it ends because the database is unreachable."""
        while True:
            worker = _Worker(self._environment, self._folder / f"worker-{len(self._launched) + 1}.log")
            self._launched.append(worker)
            if await worker.has_started():
                self._workers[number] = worker
                return
            assert UNREACHABLE in worker.log.read_text(), worker.log.read_text()
            await asyncio.sleep(PAUSE)


class _Worker:
    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self.log = log
        self.process = Program("worker", environment, log.parent, log)

    async def has_started(self) -> bool:
        """Wait until the worker has started or has ended; return whether it has started."""

        def is_decided() -> bool:
            return WORKER_READY in self.log.read_text() or self.process.poll() is not None

        await wait_until(is_decided, DEADLINE, self.log.read_text)
        return WORKER_READY in self.log.read_text()

    async def wait_for_end(self) -> None:
        await wait_until(lambda: self.process.poll() is not None, DEADLINE, self.log.read_text)


@asynccontextmanager
async def crew_of(size: int, environment: Mapping[str, str], folder: Path) -> AsyncIterator[Crew]:
    """Yield workers that write their logs to a folder; kill all at the end of the block."""
    folder.mkdir()  # noqa: ASYNC240 - at once
    crew = Crew(size, environment, folder)
    try:
        yield crew
    finally:
        await crew.end()
