"""One open transaction: compiles the rules' statements, sends them to the driver, and shows them to observers."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, TypeVar, cast

import asyncpg
from sqlalchemy import ClauseElement, Executable, Result, TextClause
from sqlalchemy.dialects.postgresql import asyncpg as dialect
from sqlalchemy.engine import IteratorResult
from sqlalchemy.engine.result import SimpleResultMetaData
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.compiler import SQLCompiler

from commerce.address_digests import AddressDigests
from commerce.postgres import driver_call

ADDRESS_DIGESTS = "address digests"  # in the info of each transaction
DIALECT_OF_DRIVER = dialect.dialect()  # type: ignore[no-untyped-call]
T = TypeVar("T")
Observer = Callable[[str, int, BaseException | None], None]
_observers: list[Observer] = []


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
        await driver_call(self._connection.execute(f"SAVEPOINT {name}"))
        try:
            yield
        except BaseException:
            await driver_call(self._connection.execute(f"ROLLBACK TO SAVEPOINT {name}"))
            raise
        await driver_call(self._connection.execute(f"RELEASE SAVEPOINT {name}"))

    def begin_nested(self) -> Any:
        """Open a savepoint; roll back to it when the block raises."""
        return self._savepoint()

    async def rollback(self) -> None:
        """Undo what the transaction has done so far, and release its locks."""
        await driver_call(self._connection.execute(f"ROLLBACK; {self._begin}"))

    async def _fetch(self, sql: str, values: Sequence[Any]) -> list[asyncpg.Record]:
        return await self._observed(sql, self._connection.fetch(sql, *values))

    async def _observed(self, sql: str, call: Awaitable[T]) -> T:
        if not _observers:
            return await driver_call(call)
        started, failure = time.time_ns(), None
        try:
            return await driver_call(call)
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
