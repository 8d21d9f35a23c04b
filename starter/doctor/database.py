"""PostgreSQL: whether we can connect, and its tables, clock and number of connections."""

import shutil
from socket import gaierror

import asyncpg
from sqlalchemy import URL, make_url

from commerce import database_status, migrations
from commerce.database import NAME, POOL, SESSION, Database
from commerce.errors import DatabaseUnavailable
from commerce.postgres import POSTGRES_PORT, connect
from commerce.settings import Settings, read_stack
from starter.doctor.clocks import compare_clocks
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.runner import CheckContext

EXTRA_OF_WORKER = 3  # connections in addition to one per concurrent step; one more if it serves metrics
EXTRA_OF_API = 1  # connections in addition to its pool, for the gauges
CONCURRENT_CHECKS = 3  # that use the database
UNSUPPORTED = "unsupported startup parameter"  # PgBouncer's refusal of limits for a session
GIB = 1024**3
DISK_FULL = "the disk of the server is full", "Free some space, or enlarge the disk"
MIN_FREE, LOW_FREE = GIB // 10, GIB  # bytes for the data folder of an embedded stack


async def check_connection(context: CheckContext) -> CheckResult:
    """Check that the server accepts our user and has our database, and so does a pooler in front of it."""
    settings, found = context.settings, ""
    direct = settings.direct_database_url
    for name, secret in (("DIRECT_DATABASE_URL", direct), ("DATABASE_URL", settings.database_url)):
        if secret is None:
            continue
        url = make_url(secret.get_secret_value())
        options = NAME if direct and name == "DATABASE_URL" else SESSION
        try:
            await (await connect(secret.get_secret_value(), server_settings=options)).close()
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError) as error:
            return _connection_failure(error, url, context.variable(name))
        found = f"{_address(url)}, database {url.database}" + (f"; directly {found}" if found else "")
    context.database = Database.of(settings, pool_size=CONCURRENT_CHECKS)
    context.cleanup.push_async_callback(context.database.close)
    return ok(found)


async def check_tables(context: CheckContext) -> CheckResult:
    """Check that the tables are at the revision that this program needs."""
    async with context.database.transaction() as tx:
        revision = await database_status.schema_revision(tx)
    known = migrations.revisions()
    if revision is None:
        return failed("there are no tables yet", "Run: commerce migrate")
    if revision not in known:
        return failed(
            f"the tables are at revision {revision}, newer than this program's {known[0]}",
            "Install the version of this program that migrated the tables",
        )
    if revision != known[0]:
        return failed(f"the tables are at revision {revision}, this program needs {known[0]}", "Run: commerce migrate")
    return ok(f"revision {revision}")


async def check_role(context: CheckContext) -> CheckResult:
    """Check that our role can use the tables, and can do nothing else."""
    async with context.database.transaction() as tx:
        role = await database_status.our_role(tx)
    if role.unusable:
        return failed(f"{role.name} cannot use {', '.join(role.unusable)}", "Run: commerce migrate")
    variable = context.variable("DATABASE_URL")
    if role.is_superuser or role.is_owner:
        more = "is a superuser" if role.is_superuser else "owns the tables"
        return warning(
            f"{role.name} {more}, so an injected statement could do more than the shop",
            f"Use a role of its own in {variable}: docs/deployment.md, Your own PostgreSQL",
        )
    return ok(f"{role.name} uses the tables and owns none")


async def check_clock(context: CheckContext) -> CheckResult:
    """Check that the server's clock agrees with this machine's."""
    async with context.database.transaction() as tx:
        before = context.now()
        server_time = await database_status.server_time(tx)
        after = context.now()
    return compare_clocks(server_time, before, after, "PostgreSQL")


async def check_connections(context: CheckContext) -> CheckResult:
    """Check that the server allows as many connections as a worker and an API may open."""
    async with context.database.transaction() as tx:
        used, allowed = await database_status.count_connections(tx)
    if context.settings.direct_database_url:
        return ok(f"{used} of {allowed} in use; the pooler limits its own")
    needed = max_connections(context.settings)
    found = f"{used} of {allowed} in use; a worker and an API need up to {needed}"
    if needed > allowed:
        return warning(found, "Raise max_connections in PostgreSQL, or lower COMMERCE_WORKER_ACTIVITIES")
    return ok(found)


async def check_disk(context: CheckContext) -> CheckResult:
    """Check that the server can write, and that the disk of an embedded stack has space for a while."""
    try:
        async with context.database.transaction() as tx:
            await database_status.write_temporary_file(tx)
    except DatabaseUnavailable as error:
        if database_status.DISK_FULL not in str(error):
            raise
        return failed(*DISK_FULL)
    folder = context.settings.data_dir
    if not read_stack(folder):
        return ok("the server can write")
    free = shutil.disk_usage(folder).free
    found = f"{free / GIB:.1f} GiB free for {folder}"
    if free < MIN_FREE:
        return failed(found, "Free some space, or move the data folder to a larger disk")
    if free < LOW_FREE:
        return warning(found, "Free some space before the disk is full")
    return ok(found)


def max_connections(settings: Settings) -> int:
    """Return how many connections one worker and one API may open."""
    worker = settings.worker_activities + EXTRA_OF_WORKER + bool(settings.metrics_address)
    return worker + POOL + EXTRA_OF_API


def _address(url: URL) -> str:
    return f"{url.host}:{url.port or POSTGRES_PORT}" if url.host else "the local socket"


def _connection_failure(error: Exception, url: URL, variable: str) -> CheckResult:
    """Explain a failed connection, without the error's message: it may contain parts of the URL."""
    address, correct = _address(url), f"correct host and port in {variable}"
    match error:
        case asyncpg.InvalidCatalogNameError():
            create = f"createdb -h {url.host} -p {url.port or POSTGRES_PORT} {url.database}"
            return failed(f"{address} has no database {url.database}", f"Run: {create}; or correct {variable}")
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password, or a user without access
            return failed(f"{address} rejected the user or password", f"Correct user and password in {variable}")
        case asyncpg.TooManyConnectionsError():
            return failed(
                f"{address} has no free connection", "Raise max_connections in PostgreSQL, or run fewer workers"
            )
        case asyncpg.DiskFullError():
            return failed(*DISK_FULL)
        case asyncpg.CannotConnectNowError():
            return failed(
                f"PostgreSQL at {address} starts or stops", "Wait a moment; if this persists, its log says why"
            )
        case asyncpg.ProtocolViolationError() if UNSUPPORTED in str(error):
            return failed(
                f"{address} is a pooler, such as PgBouncer",
                "Set COMMERCE_DIRECT_DATABASE_URL to the URL of the server itself: docs/configuration.md, Connections",
            )
        case asyncpg.ClientConfigurationError() | asyncpg.UndefinedObjectError():
            return failed(
                f"{variable} has an invalid option after the ?", f"Correct or remove the option in {variable}"
            )
        case gaierror():  # also if the server is a container that has stopped
            return failed(f"there is no host {url.host}", f"Start the server, or correct the host in {variable}")
        case TimeoutError():
            return failed(f"PostgreSQL at {address} does not answer", f"Check that server, or {correct}")
        case ConnectionRefusedError() | FileNotFoundError():
            return failed(
                f"no server listens at {address}", f"Start PostgreSQL (`commerce up` starts everything), or {correct}"
            )
        case _:
            return failed(
                f"no PostgreSQL server accepts this connection at {address} ({type(error).__name__})",
                f"Correct host, port and sslmode in {variable}",
            )
