"""One embedded server as a child process: start it, watch it, stop it, read its log."""

import asyncio
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

POLL_SECONDS = 0.05
LOG_LIMIT = 10 * 1024 * 1024  # bytes; a larger log is rotated
RESTART_SECONDS = (0.2, 1.0, 2.0, 4.0, 8.0, 10.0)  # waits before the restarts of a server that keeps dying
HEALTHY_SECONDS = 30.0  # a server that ran this long does not keep dying
TAIL_BYTES = 8_192


@dataclass
class ServerProcess:
    """A server: its name in the data folder, its label in messages, and how it is run and stopped."""

    name: str
    label: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_signal: signal.Signals = signal.SIGTERM
    grace: float = 10.0  # seconds to stop before it is killed
    deaths: int = 0
    created: float = 0.0  # start time of the process according to the system
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _log_start: int = 0
    _deaths_in_row: int = 0

    def start(self) -> None:
        """Start it in its own session, so that Ctrl-C in the terminal does not reach it. Raises OSError."""
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self._process = subprocess.Popen(  # noqa: S603 - our own servers, our own arguments
                self.command,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.created = psutil.Process(self._process.pid).create_time()

    @property
    def pid(self) -> int | None:
        """The process id; None before the first start."""
        return self._process.pid if self._process else None

    @property
    def code(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.poll() if self._process else None

    @property
    def alive(self) -> bool:
        """Whether it is running."""
        return self._process is not None and self.code is None

    async def ended(self) -> None:
        """Wait until it no longer runs."""
        while self.alive:  # noqa: ASYNC110 - a process sets no event
            await asyncio.sleep(POLL_SECONDS)

    def restart_delay(self) -> float:
        """Count a death and return the seconds to wait before the restart, which grow while it keeps dying."""
        self.deaths += 1
        killed = self.code == -signal.SIGKILL  # from outside, so it is not at fault
        healthy = killed or time.time() - self.created > HEALTHY_SECONDS
        self._deaths_in_row = 0 if healthy else self._deaths_in_row + 1
        return RESTART_SECONDS[min(max(self._deaths_in_row - 1, 0), len(RESTART_SECONDS) - 1)]

    async def stop(self) -> None:
        """Send its stop signal, wait for its grace period, then kill it."""
        if not self.alive or self._process is None:
            return
        self._process.send_signal(self.stop_signal)
        try:
            async with asyncio.timeout(self.grace):
                await self.ended()
        except TimeoutError:
            self.kill()
            await self.ended()

    def kill(self) -> None:
        """Kill it and its children at once."""
        if self.alive and self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)

    def death(self) -> str:
        """Describe how it ended, with the last line of its log if it exited by itself."""
        code = self.code or 0
        if code < 0:  # killed: its last log line is about something else
            return f"{self.label} was killed by {signal.Signals(-code).name}"
        how = f"ended with exit code {code}"
        last = self.last_line()
        return f"{self.label} {how}: {last}" if last else f"{self.label} {how}"

    def rotate_log(self) -> None:
        """Move the content of a log above LOG_LIMIT to `….1`, replacing an older one; the server continues to write.

        Lines that are written at this moment are lost.
        """
        if self.log.stat().st_size > LOG_LIMIT:
            shutil.copyfile(self.log, _rotated(self.log))
            os.truncate(self.log, 0)  # it is open for appending, so the server continues at the new end
            self._log_start = 0

    def last_line(self) -> str:
        """Return the last line it has logged since its start."""
        with self.log.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_start, size - TAIL_BYTES))
            lines = [line.strip() for line in log.read().decode(errors="replace").splitlines()]
        return next((line for line in reversed(lines) if line), "")


def rotate(log: Path) -> None:
    """Rename a log above LOG_LIMIT to `….1`, replacing an older one."""
    if log.exists() and log.stat().st_size > LOG_LIMIT:
        log.replace(_rotated(log))


def _rotated(log: Path) -> Path:
    return log.with_name(f"{log.name}.1")
