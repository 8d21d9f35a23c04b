"""Import orders, inventory and carts from CSV exports of other systems; importing a file again changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import backlog
from commerce.database import Database
from commerce.errors import BadInput, UnreadableFile
from commerce.imports import carts, inventory, orders, parsers
from commerce.imports.input_file import InputFile, Reading
from commerce.imports.report import BadRow, ImportReport, Progress, Tally, describe_interruption
from commerce.messages.base import FieldError
from commerce.open_orders import IS_PENDING
from commerce.order_identity import DEFAULT_SOURCE

__all__ = [
    "BadRow",
    "ImportReport",
    "Options",
    "Reading",
    "file_time",
    "import_carts",
    "import_inventory",
    "import_orders",
    "past_time",
]

ImportFile = Callable[[AsyncSession, Path, Tally], Awaitable[None]]

COUNT_PENDING = text(f"SELECT count(*) FROM orders WHERE {IS_PENDING}")  # noqa: S608 - our own constant


class Options(NamedTuple):
    """How to import, whatever the kind of file."""

    reading: Reading = Reading()
    dry_run: bool = False  # import nothing; the report has the counts of an import that skips bad rows
    on_bad_row: Callable[[BadRow], None] | None = None  # gets all bad rows, the report only the first ones
    on_interrupt: Callable[[str], None] | None = None  # gets what became of the files when the import is cancelled


DEFAULT_OPTIONS = Options()


async def import_orders(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    currency: str,
    source: str = DEFAULT_SOURCE,
    as_history: bool = False,
    progress: Progress | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> ImportReport:
    """Import order exports, each file in its own transaction. A file with a bad row is rejected as a whole.

    With `skip_bad` only the orders that have a bad row are left out. `currency` is for orders that have none, `source`
    names the shop that the orders come from. With `as_history`, new orders are recorded as fulfilled elsewhere, so that
    none of them is shipped. An empty `Shipping` means 0, an empty `Lineitem requires shipping` means
    true, and a missing `Total` is what the other amounts add up to. What is odd about an order but leaves it right is
    a warning. Known orders change as far as the file can be later, and publish `order.updated` and `order.cancelled`.
    Calls `progress` with the number of rows read so far. Raises DatabaseUnavailable and UnreadableFile; files before
    that one stay imported.
    """
    return await _import_files(
        database,
        files,
        partial(orders.import_file, currency=currency, source=source, as_history=as_history),
        skip_bad,
        progress,
        options,
    )


async def import_inventory(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    counted_at: datetime | None = None,
    progress: Progress | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> ImportReport:
    """Import inventory exports as `import_orders` imports orders; with `skip_bad` only the bad rows are left out.

    `counted_at` is when the shop counted, or exported, the stock; default: when each file was last modified. A level
    whose last count has another time or number is set, except from an earlier count (`stock_counts`). Order lines are
    linked to variants that are new. A count that is empty or `not stocked` creates no level and leaves an existing one
    as it is; so does an empty `Tracked` or `Policy` with its flag. Raises DatabaseUnavailable and UnreadableFile.
    """

    async def import_file(session: AsyncSession, file: Path, tally: Tally) -> None:
        await inventory.import_file(session, file, tally, counted_at=counted_at or file_time(file))

    return await _import_files(database, files, import_file, skip_bad, progress, options)


def past_time(text: str, field: str) -> datetime:
    """Parse a time that is not in the future; raises BadInput about this field."""
    try:
        time = parsers.timestamp(text.strip())
    except parsers.BadValue as problem:
        raise BadInput([FieldError(field=field, message=str(problem))]) from None
    if time > datetime.now(UTC):
        raise BadInput([FieldError(field=field, message="must not be in the future")])
    return time


def file_time(file: Path) -> datetime:
    """Return when a file was last modified, or now if that is in the future; raises UnreadableFile."""
    try:
        modified = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except OSError as error:
        raise UnreadableFile(str(file), (error.strerror or "it cannot be opened").lower()) from error
    return min(modified, datetime.now(UTC))


async def import_carts(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    currency: str,
    progress: Progress | None = None,
    options: Options = DEFAULT_OPTIONS,
) -> ImportReport:
    """Import exports of abandoned checkouts as `import_orders` imports orders; lines get the cart's `Updated at`.

    A newer `Updated at` or `Completed at` replaces a known cart, and older content changes nothing; a cart counts as
    imported before even if the shop has changed it since. `currency` is for carts that have none.
    Publishes no events. Raises like `import_orders`.
    """
    return await _import_files(
        database, files, partial(carts.import_file, currency=currency), skip_bad, progress, options
    )


async def _import_files(
    database: Database,
    files: Sequence[Path],
    import_file: ImportFile,
    skip_bad: bool,
    progress: Progress | None,
    options: Options,
) -> ImportReport:
    report = ImportReport(dry_run=options.dry_run)
    for number, path in enumerate(files):
        file, storing = InputFile.of(path, options.reading), False
        tally = Tally(
            str(path),
            skip_bad=skip_bad or options.dry_run,
            rows_before=report.read,
            progress=progress,
            on_bad_row=options.on_bad_row,
        )
        try:
            async with database.session() as session:
                if options.dry_run:
                    await _try_file(session, file, tally, import_file)
                else:
                    await import_file(session, file, tally)
                    storing = not tally.rejected
        except asyncio.CancelledError:
            if options.on_interrupt is not None:
                options.on_interrupt(describe_interruption(path, files[:number], storing=storing))
            raise
        counted = tally.report()
        notes = [f"{path}: {note}" for note in file.notes]
        report += counted.model_copy(update={"notes": notes + counted.notes})
    return report


async def _try_file(session: AsyncSession, file: Path, tally: Tally, import_file: ImportFile) -> None:
    """Import a file and take it back, with the numbers of orders that would be processed then, or wait for products."""
    pending, waiting = await count_open(session)
    await import_file(session, file, tally)
    pending_then, waiting_then = await count_open(session)
    tally.to_process, tally.to_wait = pending_then - pending, waiting_then - waiting
    await session.rollback()


async def count_open(session: AsyncSession) -> tuple[int, int]:
    """Return how many orders are pending, and how many wait for products."""
    pending: int = (await session.execute(COUNT_PENDING)).scalar_one()
    return pending, await backlog.count_waiting_for_product(session)
