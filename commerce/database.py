"""The shop's database: transactions as context managers, in which the rules execute their statements."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import asyncpg
from asyncpg.exceptions import _base as client_errors
from sqlalchemy import ClauseElement, Executable, NullPool, Result, TextClause, make_url, text
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.sql.compiler import SQLCompiler

from commerce.address_digests import NO_DIGESTS, AddressDigests
from commerce.errors import ConstraintViolated, DatabaseUnavailable, InvalidData
from commerce.postgres import DIALECT, DRIVER_ERRORS, POSTGRES_PORT, Pool, connect

if TYPE_CHECKING:
    from commerce.settings import Settings

IDLE_TIMEOUT = 30  # seconds that a client may be silent in a transaction; a frozen client must not keep its locks
POOL = 10  # connections
STATEMENT_TIMEOUT = 60  # seconds; a step's own timeout is shorter
# Classes of SQLSTATE that are about the data or the change itself: another attempt would fail alike.
INVALID_DATA = ("21", "22", "54")  # cardinality, data exception, program limit
CONSTRAINT_VIOLATED = ("23",)
NAME = {"application_name": "commerce"}
LIMITS = {
    "statement_timeout": f"{STATEMENT_TIMEOUT}s",
    "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT}s",
}
SESSION = NAME | LIMITS | {"tcp_keepalives_idle": f"{IDLE_TIMEOUT}"}
ADDRESS_DIGESTS = "address digests"  # in the info of each transaction
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
DIALECT_OF_DRIVER = dialect.dialect()  # type: ignore[no-untyped-call]
T = TypeVar("T")
Observer = Callable[[str, int, BaseException | None], None]
_observers: list[Observer] = []


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
            if await _driver_call(connection.execute("COMMIT")) != "COMMIT":  # an error in the block was suppressed
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
        await self._pool.close()


class Transaction(AsyncSession):
    """One open transaction. It has that part of SQLAlchemy's session which the rules use, without its machinery.

    Statements are compiled once and sent straight to the driver, which prepares each once per connection. Values are
    passed as they are, and results are as SQLAlchemy returns them for textual SQL: each row is a tuple with names.
    """

    def __init__(self, connection: asyncpg.Connection, begin: str, info: dict[Any, Any]) -> None:
        """Use a connection on which `begin` has begun a transaction; the session's own set-up is left out."""
        self._connection, self._begin, self._savepoints, self._info = connection, begin, 0, info

    @property
    def info(self) -> dict[Any, Any]:
        """What the transaction knows, see `digests_of`."""
        return self._info

    async def execute(  # type: ignore[override]
        self, statement: Executable, values: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None
    ) -> Result[Any]:
        """Execute a statement, or one that returns nothing for several sets of values. Raises the driver's errors."""
        if isinstance(statement, TextClause):
            sql, names = _compile(statement)
            records = await self._fetch(sql, [values[name] for name in names] if names else ())  # type: ignore[index,call-overload]
        elif isinstance(values, Sequence):
            sql, rows = _construct(statement, values)
            await self._observed(sql, self._connection.executemany(sql, rows))
            records = []
        else:
            sql, rows = _construct(statement, [values or {}])
            records = await self._fetch(sql, rows[0])
        keys = tuple(records[0].keys()) if records else ()
        return IteratorResult(_metadata(keys), map(tuple, records))

    async def scalar(self, statement: Executable, values: Any = None) -> Any:  # type: ignore[override]
        """Return the first value of the first row, or None."""
        return (await self.execute(statement, values)).scalar()

    async def scalars(self, statement: Executable, values: Any = None) -> Any:  # type: ignore[override]
        """Return the first value of each row."""
        return (await self.execute(statement, values)).scalars()

    @asynccontextmanager
    async def _savepoint(self) -> AsyncIterator[None]:
        self._savepoints += 1
        name = f"savepoint_{self._savepoints}"
        await _driver_call(self._connection.execute(f"SAVEPOINT {name}"))
        try:
            yield
        except BaseException:
            await _driver_call(self._connection.execute(f"ROLLBACK TO SAVEPOINT {name}"))
            raise
        await _driver_call(self._connection.execute(f"RELEASE SAVEPOINT {name}"))

    def begin_nested(self) -> Any:
        """Open a savepoint; roll back to it when the block raises."""
        return self._savepoint()

    async def rollback(self) -> None:
        """Undo what the transaction has done so far, and release its locks."""
        await _driver_call(self._connection.execute(f"ROLLBACK; {self._begin}"))

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[asyncpg.Record]:
        return await self._observed(sql, self._connection.fetch(sql, *values))

    async def _observed(self, sql: str, call: Awaitable[T]) -> T:
        if not _observers:
            return await _driver_call(call)
        started, failure = time.time_ns(), None
        try:
            return await _driver_call(call)
        except BaseException as error:
            failure = error
            raise
        finally:
            for observe in _observers:
                observe(sql, started, failure)


def digests_of(tx: AsyncSession) -> AddressDigests:
    """Return what makes digests of addresses, as the settings of this transaction's program have it."""
    digests: AddressDigests = tx.info[ADDRESS_DIGESTS]
    return digests


def observe_statements(observe: Observer) -> Callable[[], None]:
    """Call `observe` after each statement, with its start in nanoseconds since 1970; return a function that ends this.

    BEGIN, COMMIT and ROLLBACK are not observed, nor are statements of `Database.session`.
    """
    _observers.append(observe)
    return lambda: _observers.remove(observe)


def _address(url: str) -> str:
    parts = make_url(url)
    return f"{parts.host}:{parts.port or POSTGRES_PORT}"


async def _driver_call(call: Awaitable[T]) -> T:
    """Await a call of the driver. What it raises when the network fails is not one of its own errors."""
    try:
        return await call
    except OSError as error:
        raise DatabaseUnavailable(type(error).__name__) from None


@lru_cache(maxsize=2_000)
def _compile(statement: TextClause) -> tuple[str, Sequence[str]]:
    """Return the statement as PostgreSQL reads it, with the names of $1, $2 and so on."""
    compiled = statement.compile(dialect=DIALECT_OF_DRIVER)
    return compiled.string, compiled.positiontup or ()


def _construct(statement: Executable, rows: Sequence[Mapping[str, Any]]) -> tuple[str, list[list[Any]]]:
    """Return a statement that is built from tables, and its values for each row."""
    assert isinstance(statement, ClauseElement)
    compiled = cast(SQLCompiler, statement.compile(dialect=DIALECT_OF_DRIVER, column_keys=list(rows[0]) or None))
    processors: Mapping[str, Any] = compiled._bind_processors
    sets = [compiled.construct_params(row) for row in rows]
    names = compiled.positiontup or ()
    return compiled.string, [
        [processors[name](values[name]) if name in processors else values[name] for name in names] for values in sets
    ]


@lru_cache(maxsize=2_000)
def _metadata(keys: tuple[str, ...]) -> SimpleResultMetaData:
    return SimpleResultMetaData(keys or ("nothing",))


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
