"""Servers that all workers of one test run share: the first worker that needs one starts it, the run's end stops it."""

import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from sqlalchemy import make_url

from starter.devstack import postgres

RAM_DISK, RAM_DISK_BYTES = Path("/dev/shm"), 4 * 1024**3  # three times what a run needs
PREFIX = "commerce tests "
PASSWORD = "password-of-all-roles"
DEADLINE = 120  # seconds
MIN_AGE = 600  # seconds, of a cluster that may be deleted
SETTINGS = (
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "wal_level=minimal",
    "max_wal_senders=0",
    "max_wal_size=256MB",
    "autovacuum=off",  # no database lives long enough
    "shared_buffers=64MB",
    "max_connections=500",  # of all workers of the run; the doctor warns of more concurrent steps
)
started: list[subprocess.Popen[bytes]] = []  # by this process; dropping one would warn that it still runs


@contextmanager
def once_per_run(folder: Path, name: str) -> Iterator[Path]:
    """Let one worker of the run at a time into the block; yield a file that exists once the work has been done."""
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder / f"{name}.done"


@dataclass(frozen=True)
class PostgresServer:
    """A PostgreSQL cluster that keeps its data through a crash of PostgreSQL, not of the machine."""

    folder: Path
    port: int

    def url(self, database: str) -> str:
        """Return the URL of a database for the application's role."""
        return postgres.url(self.folder, self.port, database)

    def superuser_url(self, database: str = postgres.SERVER_DATABASE) -> str:
        return postgres.superuser_url(self.folder, self.port, database)


def use_ram_disk() -> None:
    """Keep temporary files in memory if there is room and TMPDIR names no other folder: a tenth less work."""
    if "TMPDIR" in os.environ or not os.access(RAM_DISK, os.W_OK):
        return
    if shutil.disk_usage(RAM_DISK).free > RAM_DISK_BYTES and not os.statvfs(RAM_DISK).f_flag & os.ST_NOEXEC:
        os.environ["TMPDIR"] = tempfile.tempdir = str(RAM_DISK)


def url_of(role: str, url: str) -> str:
    """Return the URL of the same database for another role."""
    return make_url(url).set(username=role).render_as_string(hide_password=False)


def shared_postgres(run_folder: Path, port: int) -> PostgresServer:
    """Return the run's PostgreSQL server; start it at this port if no other worker has."""
    with once_per_run(run_folder, "postgres") as done:
        if not done.exists():
            remove_abandoned_clusters()
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            started.append(start_postgres(folder, port))
            done.write_text(f"{started[-1].pid}\n{port}\n{folder}\n")
        _, running_port, folder_name = done.read_text().splitlines()
        return PostgresServer(Path(folder_name), int(running_port))


def start_postgres(folder: Path, port: int) -> subprocess.Popen[bytes]:
    """Start a server on a new cluster, whose roles share a password; return when it accepts connections."""
    for role in (postgres.SUPERUSER, postgres.MIGRATOR, postgres.APPLICATION):
        (folder / f"{role}.password").write_text(PASSWORD)
    postgres.prepare(folder)
    log_file = folder / "postgres.log"
    with log_file.open("w") as log:
        # In a session of its own: Ctrl-C ends the tests first, and they end their databases.
        server = subprocess.Popen(
            postgres.command(folder, port, *SETTINGS), stdout=log, stderr=log, start_new_session=True
        )
    deadline = time.monotonic() + DEADLINE
    while "ready to accept connections" not in log_file.read_text():
        assert server.poll() is None, log_file.read_text()
        assert time.monotonic() < deadline, f"PostgreSQL did not start within {DEADLINE} s"
        time.sleep(0.02)
    return server


def stop_servers(run_folder: Path) -> None:
    """Stop the servers of a run, and delete their data."""
    done = run_folder / "postgres.done"
    if done.exists():
        pid, _, folder = done.read_text().splitlines()
        try:
            server = psutil.Process(int(pid))
            server.send_signal(signal.SIGINT)
            server.wait(timeout=DEADLINE)
        except psutil.NoSuchProcess:
            pass
        shutil.rmtree(folder)


def remove_abandoned_clusters() -> None:
    """Delete clusters whose test run was killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < MIN_AGE:
                continue  # it may be being made: the server of a moment ago is not the last one
            # negative while the cluster is being made
            pid = abs(int((folder / "postgres" / "postmaster.pid").read_text().split()[0]))
        except (OSError, IndexError, ValueError):
            continue  # it is being made or deleted
        if not psutil.pid_exists(pid):
            shutil.rmtree(folder, ignore_errors=True)
