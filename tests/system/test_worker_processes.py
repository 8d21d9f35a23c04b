"""`commerce worker --processes N`: several workers in one program."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from commerce.errors import SettingsError
from starter.cli import worker_processes
from starter.cli.worker_processes import metrics_addresses, supervise
from starter.devstack.ports import can_listen
from tests.conftest import DEADLINE, free_port
from tests.keys import ENCRYPTION_ENV
from tests.paths import ROOT
from tests.running_shop import RunningShop
from tests.scraping import scrape
from tests.system.workers import WORKER_READY, WorkerProcess, wait_until, worker_environment

pytestmark = pytest.mark.waits(5)

ARGUMENTS = ("worker", "--processes", "2")


def test_each_worker_has_its_own_port_for_metrics() -> None:
    assert metrics_addresses("", 3) == ["", "", ""]
    assert metrics_addresses("[::1]:9464", 2) == ["[::1]:9464", "[::1]:9465"]
    with pytest.raises(SettingsError, match="3 workers would need the ports 65534 to 65536"):
        metrics_addresses("0.0.0.0:65534", 3)


async def test_two_workers_share_the_orders_and_stop_together(shop: RunningShop, tmp_path: Path) -> None:
    port = next(port for port in iter(free_port, None) if can_listen(port + 1))
    environment = worker_environment(shop) | {"COMMERCE_METRICS_ADDRESS": f"127.0.0.1:{port}"}
    program = WorkerProcess("starter", environment, tmp_path, *ARGUMENTS)
    try:
        await wait_until(lambda: program.log_text().count(WORKER_READY) == 2, DEADLINE, program.log_tail)
        await shop.data.stock("MUG", main=20)
        for number in range(20):
            await shop.data.order(str(number), MUG=1)
        results = await asyncio.gather(*(shop.process(str(number)) for number in range(20)))
        assert {result.status for result in results} == {"fulfilled"}
        for own in (port, port + 1):
            assert "commerce_database_up" in (await scrape(f"http://127.0.0.1:{own}/metrics")).names
        workers = psutil.Process(program.process.pid).children()
        assert len(workers) == 2
    finally:
        code, _ = await program.stop()
    assert code == 0, program.log_tail()
    assert not any(worker.is_running() for worker in workers)


async def test_a_worker_that_dies_is_replaced(shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_processes, "MIN_LIFETIME", 0)
    before = set(psutil.Process().children())

    def workers() -> set[psutil.Process]:
        return set(psutil.Process().children()) - before

    stop = asyncio.Event()
    running = asyncio.create_task(supervise([worker_environment(shop)] * 2, stop))
    await wait_until(lambda: len(workers()) == 2, DEADLINE, str)
    first, second = workers()
    first.kill()
    await wait_until(lambda: first not in workers() and len(workers()) == 2, DEADLINE, str)
    assert second in workers()
    stop.set()
    assert await running == 0
    assert workers() == set()


@pytest.mark.parametrize(
    ("variable", "value", "code", "message"),
    [
        ("COMMERCE_TIMEZONE", "Mars", 2, "COMMERCE_TIMEZONE: is not an IANA time zone, like Europe/London"),
        ("COMMERCE_DATABASE_URL", "postgresql://ann:secret@127.0.0.1:1/shop", 3, "The database is unavailable: no"),
    ],
)
def test_workers_that_cannot_start_end_the_program(
    tmp_path: Path, variable: str, value: str, code: int, message: str
) -> None:
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    environment = inherited | {"PYTHONPATH": str(ROOT)} | ENCRYPTION_ENV | {variable: value}
    command = [sys.executable, "-m", "starter", *ARGUMENTS]
    ended = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=DEADLINE)
    assert ended.returncode == code and message in ended.stderr and "Traceback" not in ended.stderr
