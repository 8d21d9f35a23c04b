"""Brings rows into temporary tables by COPY, so that the rest of an import is a few statements on whole sets."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import DatabaseUnavailable
from commerce.imports.report import MAX_BAD_ROWS, Tally

BATCH_ROWS = 10_000  # in memory before they are copied
MANY_ROWS = 1_000  # after which the planner should look at the tables anew

# One at a time, of whatever kind: lines of new orders find the variants that an inventory brings, or the other way.
LOCK = text("SELECT pg_advisory_xact_lock(hashtext('commerce.imports'))")
# Reading a long file and writing it takes longer than any step may.
NO_TIME_LIMITS = (
    text("SET LOCAL statement_timeout = 0"),
    text("SET LOCAL idle_in_transaction_session_timeout = 0"),
)
ROOM_TO_SORT = text("SET LOCAL work_mem = '64MB'")


class Staged(NamedTuple):
    """What is done with things that were staged whole, like orders: statements, each on all of them.

    The staged table has one row for each, with `line`, `state` (new; bad: none of it is taken in; known; taken) and
    `reason` (not told yet).
    """

    table: str
    find_repeated: TextClause  # makes bad what is in the file twice
    find_known: TextClause  # makes new ones known, or bad when they are known with other content
    write: Sequence[TextClause]  # make new ones taken, but for those that somebody else has brought meanwhile
    written: Sequence[str]  # tables


class Staging:
    """The temporary tables of one import, gone at the end of the transaction."""

    def __init__(self, session: AsyncSession, tables: Mapping[str, Sequence[str]]) -> None:
        """Take the tables' columns, in the order of the records."""
        self._session, self._tables = session, tables
        self._waiting: dict[str, list[Sequence[Any]]] = {table: [] for table in tables}

    async def add(self, table: str, *records: Sequence[Any]) -> None:
        """Put records into a table, some time before `close` returns."""
        self._waiting[table].extend(records)
        if len(self._waiting[table]) >= BATCH_ROWS:
            await self._copy(table)

    async def close(self) -> None:
        """Put the rest in and let the planner see the tables."""
        for table in self._tables:
            await self._copy(table)
            await self._session.execute(text(f"ANALYZE {table}"))

    async def _copy(self, table: str) -> None:
        records, self._waiting[table] = self._waiting[table], []
        driver = (await (await self._session.connection()).get_raw_connection()).driver_connection
        assert isinstance(driver, asyncpg.Connection)
        try:
            await driver.copy_records_to_table(table, records=records, columns=self._tables[table])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
            raise DatabaseUnavailable(type(error).__name__) from None  # its text holds values


async def begin(session: AsyncSession, *statements: str) -> None:
    """Make the temporary tables; from here on the transaction may take its time."""
    for statement in (*NO_TIME_LIMITS, ROOM_TO_SORT, *map(text, statements)):
        await session.execute(statement)


async def end(session: AsyncSession, tally: Tally, *tables: str) -> None:
    """Tell the planner of what an import has written, not minutes later as autovacuum would."""
    if tally.taken and tally.read >= MANY_ROWS:
        await session.execute(text(f"ANALYZE {', '.join(tables)}"))


async def collect_refusals(session: AsyncSession, table: str, tally: Tally) -> None:
    """Move the reasons that checks have left in a staged table into the tally."""
    taken_out = text(f"""
        WITH refused AS (
            UPDATE {table} SET reason = NULL WHERE reason IS NOT NULL RETURNING old.line, old.reason
        )
        SELECT line, reason, count(*) OVER () AS bad_count FROM refused ORDER BY line LIMIT {MAX_BAD_ROWS}
    """)  # noqa: S608 - our own table
    rows = (await session.execute(taken_out)).all()
    for row in rows:
        tally.refuse(row.line, row.reason)
    if rows:
        tally.bad_count += rows[0].bad_count - len(rows)


async def settle(session: AsyncSession, staged: Staged, tally: Tally) -> None:
    """Check what is staged and take it in; where a bad row spoils the file, the transaction is rolled back."""
    await session.execute(LOCK)
    await session.execute(staged.find_repeated)
    await _find_known(session, staged, tally)
    if not tally.spoilt:
        for statement in staged.write:
            await session.execute(statement)
        await _find_known(session, staged, tally)  # somebody else may have brought the same just now
    if tally.spoilt:
        await session.rollback()
        return
    tally.taken, tally.unchanged = (await session.execute(_count(staged.table))).one()
    await end(session, tally, *staged.written)


async def _find_known(session: AsyncSession, staged: Staged, tally: Tally) -> None:
    await session.execute(staged.find_known)
    await collect_refusals(session, staged.table, tally)


def _count(table: str) -> TextClause:
    return text(f"""
        SELECT count(*) FILTER (WHERE state = 'taken') AS taken, count(*) FILTER (WHERE state = 'known') AS unchanged
        FROM {table}
    """)  # noqa: S608 - our own table
