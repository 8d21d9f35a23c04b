"""Which processes belong to a data folder, on record, so that the next start can end what a killed one left behind."""

import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from starter.devstack.data_folder import read_json, write_json
from starter.devstack.server_process import POLL_SECONDS, ServerProcess

RECORD = "pids.json"
POSTGRES = ("postgres", "initdb")  # these stop fast and with all data on SIGINT
SERVERS = (*POSTGRES, "temporal")  # ended last: the others finish their work on them
PROGRAM_GRACE, SERVER_GRACE = 5.0, 10.0  # seconds
CLOCK_SLACK = 2.0  # seconds by which a process's start may seem to move when the clock is set


def record(data_dir: Path, children: Iterable[ServerProcess]) -> None:
    """Write down the children that run, each with the time it was started: a number alone may be reused."""
    entries = {child.name: {"pid": child.pid, "created": child.created} for child in children if child.alive}
    write_json(data_dir / RECORD, entries)


def forget(data_dir: Path) -> None:
    """Take the record away: no child runs."""
    (data_dir / RECORD).unlink(missing_ok=True)


def end(data_dir: Path) -> int:
    """End what a killed stack left running in this folder, which the caller holds; returns how many it ended."""
    recorded = list(_recorded(data_dir))
    _end([process for name, process in recorded if name not in SERVERS], PROGRAM_GRACE)
    strays = set(_strays(data_dir)) | {process for name, process in recorded if name in SERVERS}
    _end(strays, SERVER_GRACE)
    (data_dir / "postgres" / "postmaster.pid").unlink(missing_ok=True)  # nobody is left whom it could mean
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
    """Find servers that hold our state but are on no record: they name it on their command line."""
    state = {str(data_dir / "postgres"), str(data_dir / "temporal.db")}
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] in SERVERS and not state.isdisjoint(process.info["cmdline"] or ()):
            yield process


def _end(processes: Iterable[psutil.Process], grace: float) -> None:
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
    """Signal a process, politely unless told how; psutil makes sure that its number is not another's by now."""
    try:
        process.send_signal(number or (signal.SIGINT if process.name() in POSTGRES else signal.SIGTERM))
    except psutil.NoSuchProcess:
        return


def _gone(process: psutil.Process) -> bool:
    """Tell whether it has ended, perhaps not yet collected by its parent."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
