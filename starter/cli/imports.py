"""The commands `commerce import …`: import CSV exports of other systems."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated

import typer

from commerce.settings import Settings
from starter.cli.import_files import (
    Currency,
    Dates,
    Decimal,
    DryRun,
    Encoding,
    FileOptions,
    Files,
    Kind,
    ReportFile,
    ShowColumns,
    SkipBad,
    Timezone,
    run_import,
    show_columns,
)
from starter.cli.shared import AsJson, DataDir, check_source, print_line

if TYPE_CHECKING:
    from commerce.database import Database
    from commerce.imports import ImportReport, Options

BAD_ROWS = (
    "By default, nothing is imported from a file with a bad row. "
    "Exit code 1: a file has bad rows, whether they were skipped or not."
)

import_app = typer.Typer(help="Import CSV exports of other systems, plain or gzip.", no_args_is_help=True)


Map = Annotated[
    str | None,
    typer.Option(
        "--map",
        metavar="NAME|FILE.toml",
        help="Files of another shop: bigcommerce, etsy, magento or woocommerce, or a map of your own",
    ),
]

Source = Annotated[
    str | None,
    typer.Option(
        callback=check_source,
        metavar="NAME",
        help="The shop that the orders come from, if you have several; default: COMMERCE_ORDER_SOURCE",
    ),
]


CountedAt = Annotated[
    str | None,
    typer.Option(
        metavar="TIME",
        help="When the stock was counted or exported, like 2026-03-02 12:00:00 +0000; default: file time",
    ),
]


@import_app.command("orders", epilog=BAD_ROWS)
def orders(
    files: Files,
    source: Source = None,
    as_history: Annotated[
        bool,
        typer.Option("--as-history", help="Record new orders as fulfilled elsewhere, so that none of them is shipped"),
    ] = False,
    column_map: Map = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
    report: ReportFile = None,
    encoding: Encoding = None,
    timezone: Timezone = None,
    dates: Dates = None,
    decimal: Decimal = None,
    currency: Currency = None,
    columns: ShowColumns = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Import order exports. A known order changes as far as the file is later; importing it again changes nothing."""
    from commerce.imports import import_orders
    from commerce.imports.order_rows import COLUMNS

    shared = (skip_bad, dry_run, report, encoding, timezone, dates, decimal, as_json, data_dir)
    given = FileOptions(*shared, currency, column_map)

    def import_files(
        database: "Database", settings: Settings, progress: Callable[[int], None], options: "Options"
    ) -> "Awaitable[ImportReport]":
        return import_orders(
            database,
            files,
            skip_bad=skip_bad,
            currency=currency or settings.currency,
            source=source or settings.order_source,
            as_history=as_history,
            progress=progress,
            options=options,
        )

    kind = Kind("orders", "order", COLUMNS)
    extra = [*(["--source", source] if source else []), *(["--as-history"] if as_history else [])]
    return show_columns(kind, files, given) if columns else run_import(kind, files, given, import_files, extra)


@import_app.command("inventory", epilog=BAD_ROWS)
def inventory(
    files: Files,
    counted_at: CountedAt = None,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
    report: ReportFile = None,
    encoding: Encoding = None,
    decimal: Decimal = None,
    columns: ShowColumns = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Import inventory exports: products, variants and stock levels.

    A count has a time. A later count sets the stock even if its numbers are the same; the same count again changes
    nothing. What was shipped since, or is not yet known to the shop, is not put back.
    """
    from commerce.imports import file_time, import_inventory, past_time
    from commerce.imports.inventory_rows import COLUMNS

    given = FileOptions(skip_bad, dry_run, report, encoding, None, None, decimal, as_json, data_dir)

    def import_files(
        database: "Database", _: Settings, progress: Callable[[int], None], options: "Options"
    ) -> "Awaitable[ImportReport]":
        return import_inventory(
            database, files, skip_bad=skip_bad, counted_at=counted, progress=progress, options=options
        )

    known = "This count is known already; a later count with the same numbers needs its own --counted-at"
    kind = Kind("inventory", "level", COLUMNS, known)
    if columns:
        return show_columns(kind, files, given)
    counted = None if counted_at is None else past_time(counted_at, "--counted-at")
    if not as_json:
        for file in files:
            print_line(f"{file}: counted at {counted or file_time(file):%Y-%m-%d %H:%M:%S %z}")
    extra = ["--counted-at", counted_at] if counted_at else []
    return run_import(kind, files, given, import_files, extra)


@import_app.command("carts", epilog=BAD_ROWS)
def carts(
    files: Files,
    skip_bad: SkipBad = False,
    dry_run: DryRun = False,
    report: ReportFile = None,
    encoding: Encoding = None,
    timezone: Timezone = None,
    dates: Dates = None,
    decimal: Decimal = None,
    currency: Currency = None,
    columns: ShowColumns = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Import exports of abandoned checkouts. A newer cart replaces a known one; importing it again changes nothing."""
    from commerce.imports import import_carts
    from commerce.imports.cart_rows import COLUMNS

    shared = (skip_bad, dry_run, report, encoding, timezone, dates, decimal, as_json, data_dir)
    given = FileOptions(*shared, currency)

    def import_files(
        database: "Database", settings: Settings, progress: Callable[[int], None], options: "Options"
    ) -> "Awaitable[ImportReport]":
        return import_carts(
            database,
            files,
            skip_bad=skip_bad,
            currency=currency or settings.currency,
            progress=progress,
            options=options,
        )

    kind = Kind("carts", "cart", COLUMNS)
    return show_columns(kind, files, given) if columns else run_import(kind, files, given, import_files)
