"""COPY parsed rows into temporary tables, so that the rest of an import is a few set-based statements."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.imports.report import MAX_BAD_ROWS, Tally
from commerce.postgres import error_of

BATCH_ROWS = 10_000  # in memory before they are copied
ANALYZE_ROWS = 1_000  # rows read, from which on the planner needs new statistics

# One import at a time, of any kind: orders link to the variants that an inventory creates, and the other way round.
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.imports'))")
# Reading and writing a long file takes longer than a step may.
NO_TIMEOUTS = (
    text("SET LOCAL statement_timeout = 0"),
    text("SET LOCAL idle_in_transaction_session_timeout = 0"),
)
MEMORY_FOR_SORTS = text("SET LOCAL work_mem = '64MB'")


class Statements(NamedTuple):
    """The statements that check and write everything staged in one table of orders or carts.

    The table has a row per order or cart, with `line` (its first one), `state` and `reason` (why it is bad, until that
    is reported). States: new; bad: not imported; known: imported before; changed: known with other content; written.
    """

    table: str
    forget: Callable[[AsyncSession], Awaitable[None]]  # takes out forgotten persons
    find_repeated: TextClause  # new -> bad where the file has an id twice
    find_known: TextClause  # new -> known, and changed (or bad) if the known content differs
    write: Sequence[TextClause]  # new -> written, except what another transaction has inserted meanwhile
    written: Sequence[str]  # the tables written to
    change: Callable[[AsyncSession, Tally], Awaitable[None]] | None = None  # changed -> known if nothing was to change


class StagingTables:
    """The temporary tables of one import; PostgreSQL drops them at the end of the transaction."""

    def __init__(self, session: AsyncSession, columns: Mapping[str, Sequence[str]]) -> None:
        """Fill existing tables; `columns` are those of each table, in the order of its records."""
        self._session, self._columns = session, columns
        self._buffers: dict[str, list[Sequence[Any]]] = {table: [] for table in columns}

    async def add(self, table: str, *records: Sequence[Any]) -> None:
        """Buffer records for a table, and copy the buffer when it is full."""
        self._buffers[table].extend(records)
        if len(self._buffers[table]) >= BATCH_ROWS:
            await self._copy(table)

    async def flush(self) -> None:
        """Copy the remaining records and update the planner's statistics."""
        for table in self._columns:
            await self._copy(table)
            await self._session.execute(text(f"ANALYZE {table}"))

    async def _copy(self, table: str) -> None:
        records, self._buffers[table] = self._buffers[table], []
        driver = (await (await self._session.connection()).get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        try:
            await driver.copy_records_to_table(table, records=records, columns=self._columns[table])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise error_of(error) from None


async def create_tables(session: AsyncSession, *statements: str) -> None:
    """Create the temporary tables, and lift the time limits of this transaction."""
    for statement in (*NO_TIMEOUTS, MEMORY_FOR_SORTS, *map(text, statements)):
        await session.execute(statement)


async def analyze(session: AsyncSession, tally: Tally, *tables: str) -> None:
    """Update the planner's statistics after a large import; autovacuum would do so minutes later."""
    if (tally.taken or tally.changed) and tally.read >= ANALYZE_ROWS:
        await session.execute(text(f"ANALYZE {', '.join(tables)}"))


async def collect_bad_rows(session: AsyncSession, table: str, tally: Tally) -> None:
    """Move the reasons that checks have left in a staged table into the tally."""
    take_reasons = text(f"""
        UPDATE {table} SET reason = NULL
        WHERE line IN (SELECT line FROM {table} WHERE reason IS NOT NULL ORDER BY line LIMIT {BATCH_ROWS})
        RETURNING old.line, old.reason
    """)  # noqa: S608 - our own table
    while rows := (await session.execute(take_reasons)).all():
        for row in sorted(rows):
            tally.add_bad_row(row.line, row.reason)


async def collect_warnings(session: AsyncSession, table: str, tally: Tally) -> None:
    """Copy the warnings about imported rows from a staged table into the tally."""
    find = text(f"""
        SELECT line, warning, count(*) OVER () AS warning_count FROM {table}
        WHERE warning IS NOT NULL AND NOT bad ORDER BY line LIMIT {MAX_BAD_ROWS}
    """)  # noqa: S608 - our own table
    rows = (await session.execute(find)).all()
    for row in rows:
        tally.add_warning(row.line, row.warning)
    if rows:
        tally.warning_count += rows[0].warning_count - len(rows)


async def check_and_write(session: AsyncSession, statements: Statements, tally: Tally) -> None:
    """Import what is staged, or roll the transaction back if a bad row rejects the file."""
    await session.execute(LOCK)
    await statements.forget(session)
    await session.execute(statements.find_repeated)
    await _find_known(session, statements, tally)
    if not tally.rejected:
        for statement in statements.write:
            await session.execute(statement)
        await _find_known(session, statements, tally)  # another transaction may have inserted the same meanwhile
    if tally.rejected:
        await session.rollback()
        return
    if statements.change is not None:
        await statements.change(session, tally)
    tally.taken, tally.changed, tally.unchanged = (await session.execute(_count(statements.table))).one()
    await analyze(session, tally, *statements.written)


async def _find_known(session: AsyncSession, statements: Statements, tally: Tally) -> None:
    await session.execute(statements.find_known)
    await collect_bad_rows(session, statements.table, tally)


def _count(table: str) -> TextClause:
    return text(f"""
        SELECT count(*) FILTER (WHERE state IN ('written', 'changed')) AS taken,
               count(*) FILTER (WHERE state = 'changed') AS changed,
               count(*) FILTER (WHERE state = 'known') AS unchanged
        FROM {table}
    """)  # noqa: S608 - our own table
