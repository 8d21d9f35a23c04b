"""Record the processes of a data folder, so that the next start can terminate those left by a killed stack."""

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from starter.devstack.data_folder import read_json, write_json
from starter.devstack.server_process import POLL_SECONDS, ServerProcess

RECORD = "pids.json"
POSTGRES = ("postgres", "initdb")  # SIGINT stops these fast without losing data
SERVERS = (*POSTGRES, "temporal")  # terminated last, because the others depend on them
PROGRAM_GRACE, SERVER_GRACE = 5.0, 10.0  # seconds
CLOCK_SLACK = 2.0  # seconds; start times shift when the clock is set


def record(data_dir: Path, servers: Iterable[ServerProcess]) -> None:
    """Record the running servers with their start times: a process id alone may be reused."""
    entries = {server.name: {"pid": server.pid, "created": server.created} for server in servers if server.alive}
    write_json(data_dir / RECORD, entries)


def forget(data_dir: Path) -> None:
    """Delete the record: no server is running."""
    (data_dir / RECORD).unlink(missing_ok=True)


def terminate(data_dir: Path) -> int:
    """Terminate what a killed stack left running and return how many processes there were; call it with the lock."""
    recorded = list(_recorded(data_dir))
    _terminate_processes([process for name, process in recorded if name not in SERVERS], PROGRAM_GRACE)
    strays = set(_strays(data_dir)) | {process for name, process in recorded if name in SERVERS}
    _terminate_processes(strays, SERVER_GRACE)
    (data_dir / "postgres" / "postmaster.pid").unlink(missing_ok=True)  # no server is left that it could refer to
    forget(data_dir)
    return len({process for _, process in recorded} | strays)


def _recorded(data_dir: Path) -> Iterator[tuple[str, psutil.Process]]:
    for name, entry in read_json(data_dir / RECORD).items():
        try:
            process = psutil.Process(entry["pid"])
            if abs(process.create_time() - entry["created"]) < CLOCK_SLACK and not _gone(process):
                yield name, process
        except psutil.NoSuchProcess:
            continue


def _strays(data_dir: Path) -> Iterator[psutil.Process]:
    """Find unrecorded servers that use this folder: their command line names it."""
    state = {str(data_dir / "postgres"), str(data_dir / "temporal.db")}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] in SERVERS and not state.isdisjoint(process.info["cmdline"] or ()):
            yield process


def _terminate_processes(processes: Iterable[psutil.Process], grace: float) -> None:
    waiting = list(processes)
    for process in waiting:
        _signal(process)
    deadline = time.monotonic() + grace
    while (waiting := [process for process in waiting if not _gone(process)]) and time.monotonic() < deadline:
        time.sleep(POLL_SECONDS)
    for process in waiting:
        _signal(process, signal.SIGKILL)
    while any(not _gone(process) for process in waiting):
        time.sleep(POLL_SECONDS)


def _signal(process: psutil.Process, number: signal.Signals | None = None) -> None:
    """Signal a process, by default to stop cleanly. psutil makes sure that the process id was not reused."""
    try:
        process.send_signal(number or (signal.SIGINT if process.name() in POSTGRES else signal.SIGTERM))
    except psutil.NoSuchProcess:
        return


def _gone(process: psutil.Process) -> bool:
    """Return whether it has ended; a zombie counts as ended."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
