"""A real PgBouncer in transaction mode, in front of a test's database."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.conftest import DEADLINE, free_port

PROGRAM = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
NEEDS_PGBOUNCER = pytest.mark.skipif(PROGRAM is None, reason="pgbouncer (Debian: apt install pgbouncer)")
SERVER_CONNECTIONS = 3  # fewer than any test opens to the pooler
CONFIGURATION = """
[databases]
{database} = host={host} port={port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {pooler_port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
default_pool_size = {size}
"""


@contextmanager
def running_pooler(folder: Path, url: str) -> Iterator[str]:
    """Run a PgBouncer for one database and its role, with its default settings; yield the database's URL there."""
    direct, port = make_url(url), free_port()
    assert PROGRAM
    folder.mkdir()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{direct.username}" "{direct.password}"\n')
    configuration.write_text(
        CONFIGURATION.format(
            database=direct.database,
            host=direct.host,
            port=direct.port,
            pooler_port=port,
            users=users,
            size=SERVER_CONNECTIONS,
        )
    )
    command = [PROGRAM, str(configuration)]
    if os.geteuid() == 0:  # it refuses to run as root
        for path in (*folder.parents[:3], folder):
            path.chmod(path.stat().st_mode | 0o055)
        command[1:1] = ["-u", "nobody"]
    log = folder / "pgbouncer.log"
    with log.open("w") as stream:
        pooler = subprocess.Popen(command, stdout=stream, stderr=stream)
    try:
        deadline = time.monotonic() + DEADLINE
        while "process up" not in log.read_text():
            assert pooler.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.02)
        yield direct.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        pooler.terminate()
        pooler.wait(timeout=DEADLINE)
