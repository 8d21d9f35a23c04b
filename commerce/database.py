"""The shop's database: transactions as context managers, in which the rules execute their statements."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import NullPool, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from commerce.address_digests import NO_DIGESTS, AddressDigests
from commerce.errors import DatabaseUnavailable
from commerce.postgres import (
    DIALECT,
    DRIVER_ERRORS,
    POSTGRES_PORT,
    Pool,
    connect,
    driver_call,
    error_of,
    reason_of,
)
from commerce.transaction import ADDRESS_DIGESTS, Transaction

if TYPE_CHECKING:
    from commerce.settings import Settings

IDLE_TIMEOUT = 30  # seconds that a client may be silent in a transaction; a frozen client must not keep its locks
POOL = 10  # connections
STATEMENT_TIMEOUT = 60  # seconds; a step's own timeout is shorter
NAME = {"application_name": "commerce"}
LIMITS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
}
SESSION = NAME | LIMITS | {"tcp_keepalives_idle": f"{IDLE_TIMEOUT}"}
CACHED_STATEMENTS = 500  # per connection; more than we have
DIRECT = {
    "server_settings": SESSION,
    "statement_cache_size": CACHED_STATEMENTS,
    "max_cached_statement_lifetime": 0,  # for ever
}
# A pooler gives each transaction another connection of the server: the limits come with each BEGIN, in the same round
# trip, and statements have no names, because the next transaction would not find them.
POOLED = {"server_settings": NAME, "statement_cache_size": 0}
BEGIN_WITH_LIMITS = "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in LIMITS.items())])


class Database:
    """The shop's database. Use one instance per program, with as many connections as concurrent steps."""

    def __init__(
        self,
        url: str,
        *,
        pool_size: int = POOL,
        direct_url: str | None = None,
        address_digests: AddressDigests = NO_DIGESTS,
    ) -> None:
        """Take a `postgresql://` URL; the first transaction connects.

        `address_digests`: every transaction knows them, so that nothing that stores an address can lack the keys by
        which forgotten addresses are known.

        With a `direct_url`, the other URL is that of a pooler which gives each transaction another connection, such as
        PgBouncer. What needs a connection of its own goes to the direct one: imports and migrations.
        """
        self._url, self._direct_url = url, direct_url or url
        self._info = {ADDRESS_DIGESTS: address_digests}
        self._begin = BEGIN_WITH_LIMITS if direct_url else "BEGIN"
        self._pool = Pool(url, pool_size, begin=self._begin, options=POOLED if direct_url else DIRECT)

    @classmethod
    def of(cls, settings: "Settings", *, pool_size: int = POOL) -> "Database":
        """Return the database that the settings name; the first transaction connects."""
        direct = settings.direct_database_url
        return cls(
            settings.database_url.get_secret_value(),
            pool_size=pool_size,
            direct_url=direct.get_secret_value() if direct else None,
            address_digests=settings.address_digests,
        )

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a READ COMMITTED transaction; commit at the end of the block, or roll back when it raises.

        Its statements go straight to the driver, see Transaction. Raises InvalidData, ConstraintViolated or
        DatabaseUnavailable in place of the driver's errors, whose messages hold statements and values. After
        DatabaseUnavailable nobody knows whether the transaction was committed, so only what is idempotent may be
        tried again.
        """
        try:
            connection = await self._pool.begin()
        except (*DRIVER_ERRORS, OSError, TimeoutError) as error:
            raise DatabaseUnavailable(f"no connection to {_address(self._url)} ({type(error).__name__})") from None
        try:
            yield Transaction(connection, self._begin, self._info)
            if await driver_call(connection.execute("COMMIT")) != "COMMIT":  # an error in the block was suppressed
                raise DatabaseUnavailable("the transaction could not be committed, because a statement of it failed")
        except BaseException as error:
            await self._pool.roll_back(connection)
            if isinstance(error, DRIVER_ERRORS):
                raise error_of(error) from None
            raise
        self._pool.end(connection)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction with all that SQLAlchemy can do, on a connection of its own, for imports.

        Raises the same errors as `transaction`.
        """
        creator = partial(connect, self._direct_url, server_settings=SESSION)
        engine = create_async_engine(DIALECT, async_creator=creator, poolclass=NullPool, hide_parameters=True)
        try:
            async with async_sessionmaker(engine, expire_on_commit=False, info=self._info).begin() as session:
                try:
                    await session.connection()
                except (*DRIVER_ERRORS, OSError) as error:
                    reason = f"no connection to {_address(self._direct_url)} ({type(error).__name__})"
                    raise DatabaseUnavailable(reason) from None
                yield session
        except DBAPIError as error:
            raise error_of(error.orig.__cause__ if error.orig is not None else error) from None
        finally:
            await engine.dispose()

    async def migrate(self, migration_url: str | None = None) -> None:
        """Upgrade the schema to the newest revision, also while the shop works; concurrent upgrades take turns.

        The role of `migration_url` owns the tables and grants ours the use of them; without it, ours owns them.
        Raises DatabaseUnavailable.
        """
        from commerce import migrations  # loads Alembic, which a program that does not migrate can do without

        role = await self._role()
        if migration_url is not None:
            migrator = Database(migration_url, pool_size=1)
            try:
                await migrator.ping()
            finally:
                await migrator.close()
        try:
            await migrations.upgrade(migration_url or self._direct_url, role=role)
        except DBAPIError as error:
            raise DatabaseUnavailable(reason_of(error.orig.__cause__ if error.orig is not None else error)) from None

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        await self._role()

    async def _role(self) -> str:
        async with self.transaction() as tx:
            role: str = (await tx.execute(text("SELECT current_user"))).scalar_one()
        return role

    async def close(self) -> None:
        """Close all connections."""
        await self._pool.close()


def _address(url: str) -> str:
    parts = make_url(url)
    return f"{parts.host}:{parts.port or POSTGRES_PORT}"
