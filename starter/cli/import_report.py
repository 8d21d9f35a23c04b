"""What the commands `commerce import …` print at their end."""

from typing import TYPE_CHECKING

from commerce.messages.base import count_of
from starter.cli.shared import print_error, print_line

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from commerce.imports import ImportReport

SHOWN_ROWS = 20  # bad rows, and as many warnings


def print_report(report: "ImportReport", noun: str) -> None:
    """Print what was imported, the notes, and the first warnings and bad rows."""
    new = count_of(report.taken - report.changed, noun)
    read, changed = count_of(report.read, "row"), f", {report.changed:,} changed" if report.changed else ""
    if report.dry_run:
        refused, processed = count_of(report.bad_count, "row"), count_of(report.to_process, "more order")
        print_line(
            f"{read} read: {new} would be imported{changed}, {report.unchanged:,} known already, "
            f"{refused} refused; {processed} would be processed"
        )
        if report.to_wait:
            line = f"{count_of(report.to_wait, 'more order')} would wait for products that are not known here"
            print_line(line if report.to_wait > 0 else f"{count_of(-report.to_wait, 'order')} would wait no longer")
    else:
        print_line(f"{read} read: {new} imported{changed}, {report.unchanged:,} known already")
    for note in report.notes:
        print_line(note)
    for warning in report.warnings[:SHOWN_ROWS]:
        print_error(f"{warning.file}:{warning.line}: warning: {warning.reason}")
    if report.warning_count > SHOWN_ROWS:
        print_error(f"… only the first {SHOWN_ROWS} of {report.warning_count:,} warnings are shown; --json shows more")
    for bad in report.bad[:SHOWN_ROWS]:
        print_error(f"{bad.file}:{bad.line}: {bad.reason}")
    if report.bad_count > SHOWN_ROWS:
        print_error(f"… only the first {SHOWN_ROWS} bad rows are shown; --report FILE.csv writes all")


async def print_open_orders(tx: "AsyncSession") -> None:
    """Print how many orders will be processed without anything else being done, and how many wait for products."""
    from commerce.imports import count_open

    pending, waiting = await count_open(tx)
    if pending:
        line = f"{count_of(pending, 'order')} will be processed by the next run of process-pending-orders"
        print_line(f"{line}: see commerce schedules list")
    if waiting:
        line = (
            f"{count_of(waiting, 'order')} {'waits' if waiting == 1 else 'wait'} for products that are not known here"
        )
        print_line(f"{line}: see commerce products unlinked")
