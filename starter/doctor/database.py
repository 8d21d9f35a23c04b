"""PostgreSQL: whether it lets us in, has our tables, goes by our clock, and has connections for all of us."""

from socket import gaierror

import asyncpg
from sqlalchemy import URL, make_url

from commerce import database_status, migrations
from commerce.database import POOL, Database
from commerce.postgres import POSTGRES_PORT, connect
from commerce.settings import Settings
from starter.doctor.clocks import skewed
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok, warning

WORKER_MORE = 3  # connections of a worker besides one for each step at work; one more where it shows metrics
API_MORE = 1  # of an API besides its pool: to look how the shop stands


async def connection(installation: Installation) -> CheckResult:
    """The server is there, knows our user, and has our database."""
    assert installation.settings
    given = installation.settings.database_url.get_secret_value()
    url = make_url(given)
    try:
        await (await connect(given)).close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError, OverflowError) as error:
        return _refused(error, url, installation.named("DATABASE_URL"))
    installation.database = Database(given, pool_size=3)  # three checks ask it at once
    return ok(f"{_where(url)}, database {url.database}")


async def tables(installation: Installation) -> CheckResult:
    """The tables are those that this program knows."""
    assert installation.database
    async with installation.database.transaction() as tx:
        revision = await database_status.schema_revision(tx)
    known = migrations.revisions()
    if revision is None:
        return failed("there are no tables yet", "commerce migrate")
    if revision not in known:
        return failed(
            f"they are newer ({revision}) than this program ({known[0]})", "Install the version that made them"
        )
    if revision != known[0]:
        return failed(f"they are at revision {revision}, {known[0]} is needed", "commerce migrate")
    return ok(f"revision {revision}")


async def clock(installation: Installation) -> CheckResult:
    """Its clock goes with this machine's."""
    assert installation.database
    async with installation.database.transaction() as tx:
        before = installation.now()
        theirs = await database_status.server_time(tx)
        after = installation.now()
    return skewed(theirs, before, after, "PostgreSQL")


async def connections(installation: Installation) -> CheckResult:
    """It lets a worker and an API connect as often as they want to."""
    assert installation.database and installation.settings
    async with installation.database.transaction() as tx:
        used, allowed = await database_status.count_connections(tx)
    needed = wanted(installation.settings)
    found = f"{used} of {allowed} in use; a worker and an API take up to {needed}"
    if needed > allowed:
        return warning(found, "Raise max_connections of PostgreSQL, or lower COMMERCE_WORKER_ACTIVITIES")
    return ok(found)


def wanted(settings: Settings) -> int:
    """Return how many connections one worker and one API may open."""
    worker = settings.worker_activities + WORKER_MORE + bool(settings.metrics_address)
    return worker + POOL + API_MORE


def _where(url: URL) -> str:
    return f"{url.host}:{url.port or POSTGRES_PORT}" if url.host else "the local socket"


def _refused(error: Exception, url: URL, variable: str) -> CheckResult:
    """Tell why there is no connection; what the error itself says may hold what is in the URL."""
    where, place = _where(url), f"host and port in {variable}"
    match error:
        case asyncpg.InvalidCatalogNameError():
            make = f"createdb -h {url.host} -p {url.port or POSTGRES_PORT} {url.database}"
            return failed(f"{where} has no database {url.database}", f"Make it: {make}; or correct {variable}")
        case asyncpg.InvalidAuthorizationSpecificationError():  # a wrong password, or a user that may not
            return failed(f"{where} does not take our user and password", f"Correct user and password in {variable}")
        case asyncpg.TooManyConnectionsError():
            return failed(
                f"{where} has no connection left", "Raise max_connections of PostgreSQL, or run fewer workers"
            )
        case asyncpg.ClientConfigurationError() | asyncpg.UndefinedObjectError():
            return failed("an option behind the ? is not one of PostgreSQL's", f"Correct or remove it in {variable}")
        case gaierror():
            return failed(f"there is no host {url.host}", f"Correct the host in {variable}")
        case TimeoutError():
            return failed(f"PostgreSQL at {where} does not answer", f"See what is wrong with it, or correct {place}")
        case ConnectionRefusedError() | FileNotFoundError():
            return failed(
                f"nobody listens at {where}", f"Start PostgreSQL (commerce up brings all), or correct {place}"
            )
        case _:
            what = f"what is at {where} is no PostgreSQL that takes us ({type(error).__name__})"
            return failed(what, f"Correct {place}, and sslmode= if TLS is asked for")
