"""Roles and database of the embedded PostgreSQL, created at each start as far as they are missing.

The cluster of an older version has one role, `commerce`, a superuser who owns everything. It gets the same roles as a
new cluster, and the migrator becomes the owner of its tables. The migration then grants the application their use.
"""

from pathlib import Path

import asyncpg

from starter.devstack.postgres import (
    APPLICATION,
    DATABASE,
    MIGRATOR,
    SUPERUSER,
    password,
    superuser_url,
)

CONNECT_TIMEOUT = 5.0  # seconds
FORMER_SUPERUSER = "commerce"
# A session cannot rename its own role, so it becomes another one for that. All or nothing: it is one transaction.
RENAME_SUPERUSER = f"""
    BEGIN;
    CREATE ROLE commerce_rename SUPERUSER;
    SET LOCAL SESSION AUTHORIZATION commerce_rename;
    ALTER ROLE {FORMER_SUPERUSER} RENAME TO {SUPERUSER};
    RESET SESSION AUTHORIZATION;
    DROP ROLE commerce_rename;
    COMMIT;
"""
HAS_ROLE = "SELECT true FROM pg_roles WHERE rolname = $1"
HAS_DATABASE = "SELECT true FROM pg_database WHERE datname = $1"
LIMITED = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS"
ACCESS = f"""
    ALTER DATABASE {DATABASE} OWNER TO {MIGRATOR};
    REVOKE ALL ON DATABASE {DATABASE} FROM PUBLIC;
    GRANT CONNECT, TEMPORARY ON DATABASE {DATABASE} TO {APPLICATION};
"""
# REASSIGN OWNED refuses everything of the cluster's first superuser. The sequence of a column follows its table.
OWNED_BY_SUPERUSER = """
    SELECT format('ALTER TABLE %s OWNER TO %I', oid::regclass, $1::text) FROM pg_class
    WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm')
      AND pg_get_userbyid(relowner) = current_user
"""


async def set_up(data_dir: Path, port: int) -> None:
    """Create what is missing on a running server: the migrator, the application, their database and its owner.

    Raises the errors of asyncpg.
    """
    server = await _connect_as_superuser(data_dir, port)
    try:
        for role in (MIGRATOR, APPLICATION):
            if not await server.fetchval(HAS_ROLE, role):
                await server.execute(f"CREATE ROLE {role}")
            # Also after a restore, whose passwords are those of the time of the backup.
            await server.execute(f"ALTER ROLE {role} {LIMITED} PASSWORD '{password(data_dir, role)}'")
        if not await server.fetchval(HAS_DATABASE, DATABASE):
            await server.execute(f"CREATE DATABASE {DATABASE} OWNER {MIGRATOR}")
        await server.execute(ACCESS)
    finally:
        await server.close()
    await _transfer_tables(superuser_url(data_dir, port, DATABASE))


async def _connect_as_superuser(data_dir: Path, port: int) -> asyncpg.Connection:
    """Connect as the superuser; rename it first if it has its former name."""
    address = superuser_url(data_dir, port)
    try:
        return await asyncpg.connect(address, timeout=CONNECT_TIMEOUT)
    except asyncpg.InvalidPasswordError:  # also: there is no such role
        former = await asyncpg.connect(address, user=FORMER_SUPERUSER, timeout=CONNECT_TIMEOUT)
    try:
        await former.execute(RENAME_SUPERUSER)
    finally:
        await former.close()
    return await asyncpg.connect(address, timeout=CONNECT_TIMEOUT)


async def _transfer_tables(address: str) -> None:
    """Make the migrator the owner of the tables of an older version's superuser."""
    connection = await asyncpg.connect(address, timeout=CONNECT_TIMEOUT)
    try:
        async with connection.transaction():
            for statement in await connection.fetch(OWNED_BY_SUPERUSER, MIGRATOR):
                await connection.execute(statement[0])
    finally:
        await connection.close()
