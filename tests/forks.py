"""Programs that tests start by forking: a server has loaded their modules, which takes a second and a half.

A test that is about the start itself, or about what is loaded, uses `subprocess` instead.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

forks = multiprocessing.get_context("forkserver")
# Not the command line itself: what it loads reads the environment.
forks.set_forkserver_preload(["worker", "starter.api.app", "starter.api.connections", "typer", "rich.table"])
END_SECONDS = 120  # until a program that should end has hung


class Program:
    """A running `python -m MODULE`, with those methods of subprocess.Popen that tests use."""

    def __init__(
        self,
        module: str,
        environment: Mapping[str, str],
        folder: Path,
        log: Path,
        arguments: tuple[str, ...] = (),
        errors: Path | None = None,
    ) -> None:
        """Start it in a folder. Its output goes to the end of a log file, and its errors there or to another file."""
        self.log, self.errors = log, errors or log
        for file in (self.log, self.errors):
            file.touch()
        # Daemonic: one that a failed test leaves behind is stopped when the tests end.
        run = (module, arguments, dict(environment), folder, self.log, self.errors)
        self._process = forks.Process(target=_run, args=run, daemon=True)
        self._process.start()
        self.pid = self._process.pid or 0

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, negative after a signal; None while the program runs."""
        return self._process.exitcode

    def wait(self, seconds: float = END_SECONDS) -> int:
        """Return the exit code once the program has ended; fails after so many seconds."""
        self._process.join(seconds)
        code = self._process.exitcode
        assert code is not None, self.log.read_text()
        return code

    def first_line(self) -> str:
        """Return the first line of its output, once there is one."""
        deadline = time.monotonic() + END_SECONDS
        while "\n" not in (text := self.log.read_text()):
            assert self.poll() is None and time.monotonic() < deadline, text
            time.sleep(0.02)
        return text.partition("\n")[0]

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def completed(
    module: str, arguments: tuple[str, ...], environment: Mapping[str, str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder to its end."""
    out, errors = folder / "program.out", folder / "program.err"
    for file in (out, errors):
        file.unlink(missing_ok=True)
    code = Program(module, environment, folder, out, arguments, errors).wait()
    return subprocess.CompletedProcess(arguments, code, out.read_text(), errors.read_text())


def _run(
    module: str, arguments: tuple[str, ...], environment: dict[str, str], folder: Path, log: Path, errors: Path
) -> None:
    """Become the program, in a forked process."""
    for stream, file in ((1, log), (2, errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_APPEND), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
