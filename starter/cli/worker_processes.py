"""Run several workers as one program, because one Python process uses one core."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import structlog

from commerce.errors import SettingsError
from commerce.settings import MAX_PORT, PREFIX, load_environment, load_settings
from commerce.telemetry import logs

DATA_DIR, METRICS_ADDRESS = f"{PREFIX}DATA_DIR", f"{PREFIX}METRICS_ADDRESS"
MIN_LIFETIME = 10  # seconds; a worker that ends earlier could not start, and would not the next time
RESTART_DELAY = 1  # second

log = structlog.stdlib.get_logger("commerce.workers")


def run_workers(number: int, data_dir: Path | None = None) -> int:
    """Run this many workers until SIGTERM or SIGINT, which they get too; return the exit code.

    A worker that dies is replaced. One that cannot start stops the others, and its exit code is returned. Each serves
    its metrics at a port of its own, from that of the settings on. Raises SettingsError.
    """
    environment = load_environment(data_dir)
    settings = load_settings(environment)
    logs.configure(settings)
    own = dict(os.environ) | {DATA_DIR: environment[DATA_DIR]}
    addresses = metrics_addresses(settings.metrics_address, number)
    return asyncio.run(_run_until_signal([own | {METRICS_ADDRESS: address} for address in addresses]))


def metrics_addresses(first: str, number: int) -> list[str]:
    """Return the addresses for the metrics of this many workers. Raises SettingsError if a port would be too high."""
    if not first:
        return [""] * number
    host, _, port = first.rpartition(":")
    last = int(port) + number - 1
    if last > MAX_PORT:
        raise SettingsError(f"{METRICS_ADDRESS}: {number} workers would need the ports {port} to {last}")
    return [f"{host}:{int(port) + offset}" for offset in range(number)]


async def _run_until_signal(environments: list[dict[str, str]]) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return await supervise(environments, stop)


async def supervise(environments: list[dict[str, str]], stop: asyncio.Event) -> int:
    """Run a worker in each environment until `stop` is set; return the first exit code that is not 0, or 0."""
    codes = await asyncio.gather(*(_keep_running(environment, stop) for environment in environments))
    return next((code for code in codes if code), 0)


async def _keep_running(environment: dict[str, str], stop: asyncio.Event) -> int:
    """Run a worker until `stop` is set, and return its exit code. Sets `stop` if it cannot start."""
    stopping = asyncio.create_task(stop.wait())
    while not stop.is_set():
        started = time.monotonic()
        # In a session of its own, Ctrl-C reaches it only as our SIGTERM.
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "worker"), env=environment, start_new_session=True
        )
        ended = asyncio.create_task(worker.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            if not ended.done():
                worker.send_signal(signal.SIGTERM)
            return max(await ended, 0)  # one that a signal ended is not a failure of the others
        code = await ended
        if time.monotonic() - started < MIN_LIFETIME:
            stop.set()
            return code if code > 0 else 1
        log.error("worker died and is replaced", pid=worker.pid, exit_code=code)
        await asyncio.wait({stopping}, timeout=RESTART_DELAY)
    return 0
