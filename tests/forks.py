"""Programs that tests start by forking: a server has loaded their modules, which takes a second and a half.

A test that is about the start itself, or about what is loaded, uses `subprocess` instead.
"""

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(["worker", "starter.cli.app", "starter.telemetry.tracing"])


class Program:
    """A running `python -m MODULE`, with those methods of subprocess.Popen that tests use."""

    def __init__(
        self, module: str, environment: Mapping[str, str], folder: Path, log: Path, arguments: tuple[str, ...] = ()
    ) -> None:
        """Start it in a folder, with its output in a log file."""
        log.touch()
        # Daemonic: one that a failed test leaves behind is stopped when the tests end.
        self._process = forks.Process(
            target=_run, args=(module, arguments, dict(environment), folder, log), daemon=True
        )
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal; None while the program runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int | None:
        """Return the exit code once the program has ended, or None after so many seconds."""
        self._process.join(timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _run(module: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path) -> None:
    """Become the program, in a forked process."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
