"""Workers in processes of their own, to be killed and stopped as an operating system does it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT
from tests.running_shop import RunningShop

START_SECONDS = 30.0
STARTED = "worker started"


class WorkerProcess:
    """One worker and what it has logged."""

    def __init__(self, command: list[str], environment: Mapping[str, str], folder: Path) -> None:
        self.log = folder / "worker.log"
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)

    async def wait_until_started(self, says: str = STARTED) -> None:
        await wait_until(lambda: says in self.log_text(), START_SECONDS, self.log_tail)

    def log_text(self) -> str:
        return self.log.read_text()

    def log_tail(self) -> str:
        """Return the last lines it logged, for messages of failed tests."""
        return "\n".join(self.log_text().splitlines()[-20:])

    async def kill(self) -> None:
        """Take it away as a power cut does."""
        self.process.kill()
        await wait_until(lambda: self.process.poll() is not None, 10, self.log_tail)

    async def stop(self) -> tuple[int | None, float]:
        """Ask it to stop; return its exit code and how many seconds it took."""
        self.process.send_signal(signal.SIGTERM)
        took = await wait_until(lambda: self.process.poll() is not None, 60, self.log_tail)
        return self.process.returncode, took


class WorkerProcesses:
    """Starts workers for a shop, each with `more` variables; kills those that are left at the end."""

    def __init__(self, shop: RunningShop, folder: Path, **more: str) -> None:
        self._folder = folder
        self._workers: list[WorkerProcess] = []
        own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
        self._environment = own | {
            "PYTHONPATH": str(ROOT),
            "TEMPORAL_ADDRESS": shop.client.service_client.config.target_host,
            "TEMPORAL_CONFIG_FILE": os.devnull,
            "COMMERCE_DATABASE_URL": shop.settings.database_url.get_secret_value(),
            "COMMERCE_SMTP_URL": shop.settings.smtp_url.get_secret_value(),
            "COMMERCE_CARRIER_URL": shop.settings.carrier_url,
            "COMMERCE_ADMIN_EMAILS": ",".join(shop.settings.admin_emails),
            "COMMERCE_WORKER_ACTIVITIES": "60",
            "COMMERCE_WAREHOUSE_URL": shop.settings.warehouse_url,
            "COMMERCE_SCHEDULES": "off",  # the tests share a server, and its schedules would run in each other's shops
            "COMMERCE_LOG_FORMAT": "json",
            **ENCRYPTION_ENV,
            **more,
        }

    async def start(self, module: str = "worker", says: str = STARTED, **more: str) -> WorkerProcess:
        """Start a worker as operators do, or one of the tests' own, or another program that says when it is ready."""
        folder = self._folder / f"worker {len(self._workers) + 1}"
        folder.mkdir(parents=True)
        worker = WorkerProcess([sys.executable, "-m", module], self._environment | more, folder)
        self._workers.append(worker)
        await worker.wait_until_started(says)
        return worker

    async def start_pausing(self, points: Mapping[str, str]) -> WorkerProcess:
        """Start a worker that hangs at these points, by order."""
        return await self.start("tests.system.pausing_worker", PAUSES=json.dumps(points), MARKERS=str(self._folder))

    async def wait_until_hanging(self, *order_ids: str) -> None:
        """Wait until a pausing worker hangs in all of these orders."""
        missing = set(order_ids)

        def all_hang() -> bool:
            missing.difference_update(path.name for path in self._folder.iterdir())
            return not missing

        await wait_until(all_hang, 60, lambda: f"{sorted(missing)}\n{self._workers[-1].log_tail()}")

    async def kill_all(self) -> None:
        for worker in self._workers:
            if worker.process.poll() is None:
                await worker.kill()


@asynccontextmanager
async def worker_processes(shop: RunningShop, folder: Path, **more: str) -> AsyncIterator[WorkerProcesses]:
    """Start workers for this shop; kill those that are left at the end of the block."""
    made = WorkerProcesses(shop, folder, **more)
    try:
        yield made
    finally:
        await made.kill_all()


async def wait_until(condition: Callable[[], bool], seconds: float, explain: Callable[[], str]) -> float:
    """Poll until the condition holds; return how many seconds that took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, f"not within {seconds} s: {explain()}"
        await asyncio.sleep(0.02)
    return time.monotonic() - began
