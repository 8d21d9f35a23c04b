"""Takes in what other systems export as CSV: orders, inventory and carts; the same file again changes nothing."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from commerce.imports import carts, inventory, orders
from commerce.imports.report import BadRow, ImportReport, Progress, Tally

__all__ = ["BadRow", "ImportReport", "import_carts", "import_inventory", "import_orders"]

TakeIn = Callable[[AsyncSession, Path, Tally], Awaitable[None]]


async def import_orders(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    currency: str,
    progress: Progress | None = None,
) -> ImportReport:
    """Take in order exports, each file in a transaction of its own, in which nothing is taken in if a row is bad.

    With `skip_bad` the orders without a bad row are taken in. `currency` is for orders that name none; an empty
    `Shipping` is nothing to pay, an empty `Lineitem requires shipping` is true, an absent `Total` is lines plus
    shipping. `progress` hears the number of rows so far. Writes no events. Raises DatabaseUnavailable, and
    UnreadableFile (earlier files stay taken in).
    """
    return await _import(database, files, partial(orders.take_in, currency=currency), skip_bad, progress)


async def import_inventory(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Take in inventory exports as `import_orders` does orders; here a bad row concerns itself alone.

    Sets the levels whose on-hand differs from what an import gave last, and gives lines of orders their variant where
    their SKU is known now. An `On hand` that is empty or `not stocked` makes no level and leaves one that is there;
    an empty `Tracked` or `Policy` leaves what is known. Raises UnreadableFile and DatabaseUnavailable.
    """
    return await _import(database, files, inventory.take_in, skip_bad, progress)


async def import_carts(
    database: Database,
    files: Sequence[Path],
    *,
    skip_bad: bool = False,
    currency: str,
    progress: Progress | None = None,
) -> ImportReport:
    """Take in exports of abandoned checkouts as `import_orders` does orders; their lines are as old as `Updated at`.

    A cart that the shop itself has changed since is known all the same by what was taken in. `currency` is for carts
    that name none. Writes no events. Raises DatabaseUnavailable and UnreadableFile.
    """
    return await _import(database, files, partial(carts.take_in, currency=currency), skip_bad, progress)


async def _import(
    database: Database, files: Sequence[Path], take_in: TakeIn, skip_bad: bool, progress: Progress | None
) -> ImportReport:
    report = ImportReport()
    for file in files:
        tally = Tally(str(file), skip_bad=skip_bad, start=report.read, progress=progress)
        async with database.transaction() as session:
            await take_in(session, file, tally)
        tally.tell()
        report += tally.report()
    return report
