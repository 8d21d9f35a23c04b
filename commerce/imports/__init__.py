"""Import orders, inventory and carts from CSV exports of other systems; importing a file again changes nothing."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from commerce.imports import carts, inventory, orders
from commerce.imports.report import BadRow, ImportReport, Progress, Tally

__all__ = ["BadRow", "ImportReport", "import_carts", "import_inventory", "import_orders"]

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
    progress: Progress | None = None,
) -> ImportReport:
    """Import inventory exports as `import_orders` imports orders; with `skip_bad` only the bad rows are left out.

    Sets each level whose on-hand differs from the last imported one, and links order lines to variants whose SKU is
    new. An `On hand` that is empty or `not stocked` creates no level and leaves an existing one as it is; so does an
    empty `Tracked` or `Policy` with its flag. Raises DatabaseUnavailable and UnreadableFile.
    """
    return await _import_files(database, files, inventory.import_file, skip_bad, progress)


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
        async with database.session() as session:
            await import_file(session, file, tally)
        tally.report_progress()
        report += tally.report()
    return report
