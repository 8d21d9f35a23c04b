"""The commands `commerce import …`: import CSV exports of other systems."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commerce.order_identity import SOURCE
from commerce.settings import Settings
from starter.cli.shared import (
    FAILED,
    AsJson,
    DataDir,
    count_of,
    err,
    out,
    print_error,
    print_line,
    run_with_database,
)

if TYPE_CHECKING:
    from commerce.database import Database
    from commerce.imports import ImportReport

SHOWN_ROWS = 20  # bad rows, and as many warnings
BAD_ROWS = (
    "By default, nothing is imported from a file with a bad row. "
    "Exit code 1: a file has bad rows, and --skip-bad is not set."
)

import_app = typer.Typer(help="Import CSV exports of other systems, plain or gzip.", no_args_is_help=True)

ImportFiles = Callable[["Database", Settings, Callable[[int], None]], Awaitable["ImportReport"]]
Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="One or more .csv or .csv.gz files")]


def _check_source(name: str | None) -> str | None:
    if name is not None and not SOURCE.fullmatch(name):
        raise typer.BadParameter("must be 1 to 40 of the characters A-Z a-z 0-9 . _ -")
    return name


SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the rest of a file that has bad rows")]

Source = Annotated[
    str | None,
    typer.Option(
        callback=_check_source,
        metavar="NAME",
        help="The shop that the orders come from, if you have several; default: COMMERCE_ORDER_SOURCE",
    ),
]


@import_app.command("orders", epilog=BAD_ROWS)
def orders(
    files: Files,
    source: Source = None,
    skip_bad: SkipBad = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Import order exports. Importing an order again changes nothing."""
    from commerce.imports import import_orders

    def import_files(
        database: "Database", settings: Settings, progress: Callable[[int], None]
    ) -> "Awaitable[ImportReport]":
        return import_orders(
            database,
            files,
            skip_bad=skip_bad,
            currency=settings.currency,
            source=source or settings.order_source,
            progress=progress,
        )

    return _import(data_dir, import_files, "orders", skip_bad=skip_bad, as_json=as_json)


@import_app.command("inventory", epilog=BAD_ROWS)
def inventory(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Import inventory exports: products, variants and stock levels.

    A level is set only if its on-hand quantity differs from the last imported one.
    """
    from commerce.imports import import_inventory

    def import_files(database: "Database", _: Settings, progress: Callable[[int], None]) -> "Awaitable[ImportReport]":
        return import_inventory(database, files, skip_bad=skip_bad, progress=progress)

    return _import(data_dir, import_files, "levels", skip_bad=skip_bad, as_json=as_json)


@import_app.command("carts", epilog=BAD_ROWS)
def carts(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Import exports of abandoned checkouts. Importing a cart again changes nothing."""
    from commerce.imports import import_carts

    def import_files(
        database: "Database", settings: Settings, progress: Callable[[int], None]
    ) -> "Awaitable[ImportReport]":
        return import_carts(database, files, skip_bad=skip_bad, currency=settings.currency, progress=progress)

    return _import(data_dir, import_files, "carts", skip_bad=skip_bad, as_json=as_json)


def _import(data_dir: Path | None, import_files: ImportFiles, noun: str, *, skip_bad: bool, as_json: bool) -> int:
    with err.status("Reading …") as status:

        def show_progress(rows: int) -> None:
            status.update(f"{rows:,} rows read")

        report = run_with_database(data_dir, lambda database, settings: import_files(database, settings, show_progress))
    if as_json:
        out.print_json(report.model_dump_json())
    else:
        _print_report(report, noun)
    if report.bad_count:
        consequence = "skipped" if skip_bad else "their files were not imported; --skip-bad imports the other rows"
        print_error(f"{count_of(report.bad_count, 'bad row')}: {consequence}")
    if report.warning_count:
        print_error(f"{count_of(report.warning_count, 'warning')}: imported, but an operator will have to act")
    return FAILED if report.bad_count and not skip_bad else 0


def _print_report(report: "ImportReport", noun: str) -> None:
    read = count_of(report.read, "row")
    print_line(f"{read} read: {report.taken:,} {noun} imported, {report.unchanged:,} known already")
    for bad in report.bad[:SHOWN_ROWS]:
        print_error(f"{bad.file}:{bad.line}: {bad.reason}")
    for warning in report.warnings[:SHOWN_ROWS]:
        print_error(f"{warning.file}:{warning.line}: warning: {warning.reason}")
    if max(report.bad_count, report.warning_count) > SHOWN_ROWS:
        print_error(f"… only the first {SHOWN_ROWS} bad rows and warnings are shown; --json shows more")
