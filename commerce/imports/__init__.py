"""Import orders, inventory and carts from CSV exports of other systems; importing a file again changes nothing."""

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from commerce.errors import BadInput, UnreadableFile
from commerce.imports import carts, inventory, orders, parsers
from commerce.imports.report import BadRow, ImportReport, Progress, Tally
from commerce.messages.base import FieldError

__all__ = ["BadRow", "ImportReport", "file_time", "import_carts", "import_inventory", "import_orders", "past_time"]

ImportFile = Callable[[AsyncSession, Path, Tally], Awaitable[None]]


async def import_orders(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    currency: str,
    progress: Progress | None = None,
) -> ImportReport:
    """Import order exports, each file in its own transaction. A file with a bad row is rejected as a whole.

    With `skip_bad` only the orders that have a bad row are left out. `currency` is for orders that have none. An empty
    `Shipping` means 0, an empty `Lineitem requires shipping` means true, and a missing `Total` is lines plus shipping.
    Calls `progress` with the number of rows read so far. Publishes no events. Raises DatabaseUnavailable and
    UnreadableFile; files before that one stay imported.
    """
    return await _import_files(database, files, partial(orders.import_file, currency=currency), skip_bad, progress)


async def import_inventory(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    counted_at: datetime | None = None,
    progress: Progress | None = None,
) -> ImportReport:
    """Import inventory exports as `import_orders` imports orders; with `skip_bad` only the bad rows are left out.

    `counted_at` is when the shop counted, or exported, the stock; default: when each file was last modified. A level
    whose last count has another time or number is set, except from an earlier count (`stock_counts`). Order lines are
    linked to variants that are new. A count that is empty or `not stocked` creates no level and leaves an existing one
    as it is; so does an empty `Tracked` or `Policy` with its flag. Raises DatabaseUnavailable and UnreadableFile.
    """

    async def import_file(session: AsyncSession, file: Path, tally: Tally) -> None:
        await inventory.import_file(session, file, tally, counted_at=counted_at or file_time(file))

    return await _import_files(database, files, import_file, skip_bad, progress)


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
) -> ImportReport:
    """Import exports of abandoned checkouts as `import_orders` imports orders; lines get the cart's `Updated at`.

    A cart counts as imported before even if the shop has changed it since. `currency` is for carts that have none.
    Publishes no events. Raises DatabaseUnavailable and UnreadableFile.
    """
    return await _import_files(database, files, partial(carts.import_file, currency=currency), skip_bad, progress)


async def _import_files(
    database: Database, files: Sequence[Path], import_file: ImportFile, skip_bad: bool, progress: Progress | None
) -> ImportReport:
    report = ImportReport()
    for file in files:
        tally = Tally(str(file), skip_bad=skip_bad, rows_before=report.read, progress=progress)
        async with database.transaction() as session:
            await import_file(session, file, tally)
        tally.report_progress()
        report += tally.report()
    return report
