"""A pool of PostgreSQL connections, with transactions as context managers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from asyncpg import InterfaceError, PostgresError
from asyncpg.exceptions import _base as client_errors
from sqlalchemy import make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from commerce.errors import ConstraintViolated, DatabaseUnavailable, InvalidData
from commerce.postgres import DIALECT, POSTGRES_PORT, connect

IDLE_TIMEOUT = 30  # seconds that a client may be silent in a transaction; a frozen client must not keep its locks
POOL = 10  # connections
STATEMENT_TIMEOUT = 60  # seconds; a step's own timeout is shorter
# Classes of SQLSTATE that are about the data or the change itself: another attempt would fail alike.
INVALID_DATA = ("21", "22", "54")  # cardinality, data exception, program limit
CONSTRAINT_VIOLATED = ("23",)
SESSION = {
    "application_name": "commerce",
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
    "tcp_keepalives_idle": f"{IDLE_TIMEOUT}",
}


class Database:
    """The shop's database. Use one instance per program, with as many connections as concurrent steps."""

    def __init__(self, url: str, *, pool_size: int = POOL) -> None:
        """Take a `postgresql://` URL; the first transaction connects."""
        self._url = url
        self._engine = create_async_engine(
            DIALECT,
            async_creator=partial(connect, url, server_settings=SESSION),
            pool_size=pool_size,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
        )
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a READ COMMITTED transaction; commit at the end of the block, or roll back when it raises.

        Raises InvalidData, ConstraintViolated or DatabaseUnavailable in place of the driver's errors, whose messages
        hold statements and values.
        """
        try:
            async with self._sessions.begin() as session:
                await self._connect(session)
                yield session
        except DBAPIError as error:
            raise error_of(error.orig.__cause__ if error.orig is not None else error) from None

    async def _connect(self, session: AsyncSession) -> None:
        try:
            await session.connection()
        except (OSError, PostgresError, InterfaceError, PoolTimeout) as error:
            url = make_url(self._url)
            where = f"{url.host}:{url.port or POSTGRES_PORT}"
            raise DatabaseUnavailable(f"no connection to {where} ({type(error).__name__})") from None

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
            await migrations.upgrade(migration_url or self._url, role=role)
        except DBAPIError as error:
            raise DatabaseUnavailable(_reason(error.orig.__cause__ if error.orig is not None else error)) from None

    async def ping(self) -> None:
        """Raise DatabaseUnavailable unless the database answers."""
        await self._role()

    async def _role(self) -> str:
        async with self.transaction() as tx:
            role: str = (await tx.execute(text("SELECT current_user"))).scalar_one()
        return role

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


def error_of(error: BaseException | None) -> InvalidData | ConstraintViolated | DatabaseUnavailable:
    """Return our error for one of the driver. It names the SQLSTATE and the constraint, and holds no values."""
    state = getattr(error, "sqlstate", None) or ""
    # The driver itself refuses a value that does not fit the type of its parameter, such as an integer beyond 32 bits.
    if state.startswith(INVALID_DATA) or isinstance(error, client_errors.DataError):
        return InvalidData(_reason(error))
    if state.startswith(CONSTRAINT_VIOLATED):
        return ConstraintViolated(_reason(error))
    return DatabaseUnavailable(_reason(error))


def _reason(error: BaseException | None) -> str:
    state = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    name = type(error).__name__
    return name + (f", SQLSTATE {state}" if state else "") + (f", {constraint}" if constraint else "")
