"""A PostgreSQL whose temporary files have no space, as on a full disk."""

import os
import pwd
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import make_url

from starter.devstack.postgres import SUPERUSER, UNPRIVILEGED
from tests.conftest import run_sql
from tests.servers import url_of

SIZE = "64k"


@asynccontextmanager
async def full_disk(database_url: str, folder: Path) -> AsyncIterator[None]:
    """Let a database put its temporary files on a tiny disk; skips the test if this user may not mount one."""
    disk, name = folder / "disk", f"tiny_{uuid4().hex[:8]}"
    disk.mkdir()
    mounted = subprocess.run(  # noqa: ASYNC221 - returns at once
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("this user may not mount a disk")
    try:
        (disk / "space").mkdir(mode=0o700)
        if os.geteuid() == 0:
            owner = pwd.getpwnam(UNPRIVILEGED)
            os.chown(disk / "space", owner.pw_uid, owner.pw_gid)
        database, server = make_url(database_url).database, url_of(SUPERUSER, database_url)
        await run_sql(server, f"CREATE TABLESPACE {name} LOCATION '{disk / 'space'}'")
        await run_sql(server, f"GRANT CREATE ON TABLESPACE {name} TO PUBLIC")
        try:
            await run_sql(server, f"ALTER DATABASE {database} SET temp_tablespaces = {name}")
            yield
        finally:
            await run_sql(server, f"ALTER DATABASE {database} RESET temp_tablespaces")
            await run_sql(server, f"DROP TABLESPACE {name}")
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)  # noqa: ASYNC221
