"""Connects to PostgreSQL, for transactions, the relay and migrations, and returns our errors for the driver's.

Accepts the same URLs as psql.
"""

import asyncio
import json
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

import asyncpg
from asyncpg.exceptions import _base as client_errors
from sqlalchemy import make_url

from commerce.errors import ConstraintViolated, DatabaseUnavailable, InvalidData

DIALECT = "postgresql+asyncpg://"  # for engines whose `async_creator` is `connect`, which has the rest of the address
POSTGRES_PORT = 5432
CONNECT_TIMEOUT = 5  # seconds
WAIT_TIMEOUT = 30  # seconds for which a transaction waits for a free connection
BEGIN_TIMEOUT = 5  # seconds; a connection whose server is gone without a trace does not answer
ROLLBACK_TIMEOUT = 1  # second; then the connection is closed, which rolls back too
CLOSE_TIMEOUT = 5  # seconds
# What a connection raises, besides OSError: errors of the server, and of the driver itself.
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError)
# Classes of SQLSTATE that are about the data or the change itself: another attempt would fail alike.
INVALID_DATA = ("21", "22", "54")  # cardinality, data exception, program limit
CONSTRAINT_VIOLATED = ("23",)
T = TypeVar("T")


async def connect(url: str, **options: Any) -> asyncpg.Connection:
    """Open one connection to a `postgresql://` URL with libpq's parameters, like `?sslmode=verify-full`.

    `options` go to `asyncpg.connect`, whose errors are raised.
    """
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    connecting = asyncio.ensure_future(asyncpg.connect(address, timeout=CONNECT_TIMEOUT, **options))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        # Cancelled itself, asyncpg may leave a future with an error behind, which Python logs when it is collected.
        connecting.add_done_callback(_discard)
        raise


class Pool:
    """Connections for transactions. Use it in one event loop."""

    def __init__(self, url: str, size: int, *, begin: str = "BEGIN", options: Mapping[str, Any] | None = None) -> None:
        """`begin` begins a transaction; `options` go to `asyncpg.connect`. The first transaction connects."""
        self._url, self._begin, self._options = url, begin, dict(options or {})
        self._idle: list[asyncpg.Connection] = []  # the last one was used last
        self._free = asyncio.Semaphore(size)
        self._rollbacks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def begin(self) -> asyncpg.Connection:
        """Begin a transaction on a free connection, and return the connection; `end` or `roll_back` frees it.

        BEGIN is also the test of the connection: one that was lost since its last transaction is replaced, which is
        safe, because nothing has been done yet. Raises the errors of `connect`, and TimeoutError if none is free.
        """
        async with asyncio.timeout(WAIT_TIMEOUT):
            await self._free.acquire()
        connection: asyncpg.Connection | None = None
        try:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_closed():
                    continue
                if await self._has_begun(connection):
                    return connection
                connection.terminate()
                self._terminate_idle()  # they have been idle for longer, and each might take BEGIN_TIMEOUT
            connection = await connect(self._url, **self._options)
            await connection.execute(self._begin, timeout=BEGIN_TIMEOUT)
            for kind in ("json", "jsonb"):  # written as text, read as what it means
                await connection.set_type_codec(kind, encoder=_as_is, decoder=json.loads, schema="pg_catalog")
        except BaseException:
            if connection is not None:
                connection.terminate()
            self._free.release()
            raise
        return connection

    def end(self, connection: asyncpg.Connection) -> None:
        """Free a connection whose transaction has ended."""
        if self._closed:
            connection.terminate()
        else:
            self._idle.append(connection)
        self._free.release()

    async def roll_back(self, connection: asyncpg.Connection) -> None:
        """Roll back, and free the connection or, if that fails, close it. Completes even if the caller is cancelled."""
        task = asyncio.create_task(self._roll_back(connection))
        self._rollbacks.add(task)
        task.add_done_callback(self._rollbacks.discard)
        await asyncio.shield(task)

    async def close(self) -> None:
        """Close all free connections at once, and the others as soon as their transactions end."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            try:
                await connection.close(timeout=CLOSE_TIMEOUT)
            except (*DRIVER_ERRORS, OSError, TimeoutError):
                connection.terminate()

    def _terminate_idle(self) -> None:
        while self._idle:
            self._idle.pop().terminate()

    async def _has_begun(self, connection: asyncpg.Connection) -> bool:
        try:
            await connection.execute(self._begin, timeout=BEGIN_TIMEOUT)
        except (*DRIVER_ERRORS, OSError, TimeoutError):
            return False
        return True

    async def _roll_back(self, connection: asyncpg.Connection) -> None:
        try:
            await connection.execute("ROLLBACK", timeout=ROLLBACK_TIMEOUT)
        except (*DRIVER_ERRORS, OSError, TimeoutError):
            connection.terminate()
            self._free.release()
        else:
            self.end(connection)


async def driver_call(call: Awaitable[T]) -> T:
    """Await a call of the driver. Raises its errors, and DatabaseUnavailable if the network fails."""
    try:
        return await call
    except OSError as error:
        raise DatabaseUnavailable(type(error).__name__) from None


def error_of(error: BaseException | None) -> InvalidData | ConstraintViolated | DatabaseUnavailable:
    """Return our error for one of the driver. It names the SQLSTATE and the constraint, and holds no values."""
    state = getattr(error, "sqlstate", None) or ""
    # The driver itself refuses a value that does not fit the type of its parameter, such as an integer beyond 32 bits.
    if state.startswith(INVALID_DATA) or isinstance(error, client_errors.DataError):
        return InvalidData(reason_of(error))
    if state.startswith(CONSTRAINT_VIOLATED):
        return ConstraintViolated(reason_of(error))
    return DatabaseUnavailable(reason_of(error))


def reason_of(error: BaseException | None) -> str:
    """Return the type of an error, with the SQLSTATE and the constraint if there are any."""
    state = getattr(error, "sqlstate", None)
    constraint = getattr(error, "constraint_name", None)
    name = type(error).__name__
    return name + (f", SQLSTATE {state}" if state else "") + (f", {constraint}" if constraint else "")


def _as_is(text: str) -> str:
    return text


def _discard(connecting: asyncio.Future[asyncpg.Connection]) -> None:
    """Close the connection, if there is one."""
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
