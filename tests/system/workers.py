"""Run workers as separate processes, so that tests can kill them and stop them with signals."""

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.forks import Program
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT
from tests.polling import pause
from tests.running_shop import RunningShop

DEADLINE = 120  # seconds; reached only by what hangs
WORKER_READY = "worker started"


class WorkerProcess:
    """A worker process and its log file."""

    def __init__(self, module: str, environment: Mapping[str, str], folder: Path, *arguments: str) -> None:
        self.log = folder / "worker.log"
        self.process = Program(module, environment, folder, self.log, arguments)

    async def wait_until_started(self, ready_text: str = WORKER_READY) -> None:
        await wait_until(lambda: ready_text in self.log_text(), DEADLINE, self.log_tail)

    def log_text(self) -> str:
        return self.log.read_text()

    def log_tail(self) -> str:
        """Return the last 20 log lines, for the message of a failed test."""
        return "\n".join(self.log_text().splitlines()[-20:])

    async def kill(self) -> None:
        """Kill the process without warning (SIGKILL) and wait until it has ended."""
        self.process.kill()
        await wait_until(lambda: self.process.poll() is not None, DEADLINE, self.log_tail)

    async def stop(self) -> tuple[int | None, float]:
        """Send SIGTERM; return the exit code and the seconds until the process ended."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = await asyncio.to_thread(self.process.wait, DEADLINE)
        return code, time.monotonic() - began


class WorkerProcesses:
    """Starts worker processes for a shop, with `more` environment variables, and kills those still running."""

    def __init__(self, shop: RunningShop, folder: Path, **more: str) -> None:
        self._folder = folder
        self._workers: list[WorkerProcess] = []
        self._markers = folder
        self._environment = worker_environment(shop) | more

    async def start(self, module: str = "worker", ready_text: str = WORKER_READY, **more: str) -> WorkerProcess:
        """Start a worker, or another module as a program; return when its log contains `ready_text`."""
        folder = self._folder / f"worker {len(self._workers) + 1}"
        folder.mkdir(parents=True)
        worker = WorkerProcess(module, self._environment | more, folder)
        self._workers.append(worker)
        await worker.wait_until_started(ready_text)
        return worker

    async def start_pausing(self, points: Mapping[str, str]) -> WorkerProcess:
        """Start a worker that hangs at these points, which are given by order id or process id."""
        self._markers = self._folder / f"hanging in worker {len(self._workers) + 1}"
        self._markers.mkdir(parents=True)
        return await self.start("tests.system.pausing_worker", PAUSES=json.dumps(points), MARKERS=str(self._markers))

    async def wait_until_hanging(self, *order_ids: str) -> None:
        """Wait until the last pausing worker hangs in all of these orders or processes."""
        missing = set(order_ids)

        def all_hang() -> bool:
            missing.difference_update(path.name for path in self._markers.iterdir())
            return not missing

        await wait_until(all_hang, DEADLINE, lambda: f"{sorted(missing)}\n{self._workers[-1].log_tail()}")

    async def kill_all(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                await worker.kill()


def worker_environment(shop: RunningShop) -> dict[str, str]:
    """Return the environment of a worker for a shop."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    return inherited | {
        "PYTHONPATH": str(ROOT),
        "TEMPORAL_ADDRESS": shop.client.service_client.config.target_host,
        "TEMPORAL_CONFIG_FILE": os.devnull,
        "COMMERCE_DATABASE_URL": shop.settings.database_url.get_secret_value(),
        "COMMERCE_SMTP_URL": shop.settings.smtp_url.get_secret_value(),
        "COMMERCE_CARRIER_URL": shop.settings.carrier_url,
        "COMMERCE_ADMIN_EMAILS": ",".join(shop.settings.admin_emails),
        "COMMERCE_WORKER_ACTIVITIES": "60",
        "COMMERCE_WAREHOUSE_URL": shop.settings.warehouse_url,
        "COMMERCE_SCHEDULES": "off",  # the tests share a server: a schedule would start jobs in another test's shop
        "COMMERCE_LOG_FORMAT": "json",
        **ENCRYPTION_ENV,
    }


@asynccontextmanager
async def worker_processes(shop: RunningShop, folder: Path, **more: str) -> AsyncIterator[WorkerProcesses]:
    """Start worker processes for this shop; kill those still running at the end of the block."""
    processes = WorkerProcesses(shop, folder, **more)
    try:
        yield processes
    finally:
        await processes.kill_all()


def points(table: str) -> dict[str, str]:
    """Return the points where a worker hangs, by an id for each. A row of the table is a step and its places."""
    rows = [line.split() for line in table.strip().splitlines()]
    return {f"{step.replace('/', '-')}.{place}": f"{step} {place}" for step, *places in rows for place in places}


def points_by_outcome(table: str) -> dict[str, str]:
    """Return the same of a table in whose rows an expected outcome comes first; ids start with it."""
    rows = [line.split(maxsplit=1) for line in table.strip().splitlines()]
    return {f"{outcome}.{name}": point for outcome, row in rows for name, point in points(row).items()}


async def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> float:
    """Poll until the condition holds; return the seconds that took. `explain` gives the text of the failure."""
    started_at = time.monotonic()
    while not condition():
        assert time.monotonic() - started_at < seconds, f"the condition did not hold within {seconds} s: {explain()}"
        await asyncio.sleep(pause(started_at))
    return time.monotonic() - started_at
