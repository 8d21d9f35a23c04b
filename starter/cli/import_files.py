"""What the commands `commerce import …` share: options, progress, the report, and the command to continue with."""

import asyncio
import re
import shlex
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple
from zoneinfo import ZoneInfo

import typer

from commerce.messages.base import count_of
from commerce.settings import Settings
from starter.cli.import_report import print_open_orders, print_report
from starter.cli.shared import (
    FAILED,
    INTERRUPTED,
    err,
    out,
    print_error,
    print_line,
    run_in_transaction,
    run_with_database,
)

if TYPE_CHECKING:
    from commerce.database import Database
    from commerce.imports import ImportReport, Options, Reading
    from commerce.imports.columns import Columns

TICK = 0.5  # seconds between two updates of the progress on a terminal
LINE_SECONDS = 5  # between two lines of progress elsewhere
STORING_SECONDS = 1  # without a new row: what was read is being stored

Files = Annotated[list[Path], typer.Argument(metavar="FILE", help="One or more .csv or .csv.gz files")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Import the rest of a file that has bad rows")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Import nothing; show what would be imported")]
ReportFile = Annotated[
    Path | None,
    typer.Option("--report", metavar="FILE.csv", help="Write the refused rows with their reasons to a new file"),
]
Encoding = Annotated[str | None, typer.Option(help="Encoding of the files, such as windows-1252; default: found out")]
Timezone = Annotated[str | None, typer.Option(help="Time zone of times without an offset; default: COMMERCE_TIMEZONE")]
Dates = Annotated[
    str | None, typer.Option(help="Order of dates like 11/12/2026: day-first or month-first; default: found out")
]
Decimal = Annotated[str | None, typer.Option(help="Decimal mark of numbers: point or comma; default: found out")]
ShowColumns = Annotated[bool, typer.Option("--show-columns", help="Only show how the columns are understood")]
Currency = Annotated[
    str | None, typer.Option(help="Currency where a file has none, such as GBP; default: COMMERCE_CURRENCY")
]


class FileOptions(NamedTuple):
    """The options that all kinds of files have, as they were given."""

    skip_bad: bool
    dry_run: bool
    report: Path | None
    encoding: str | None
    timezone: str | None
    dates: str | None
    decimal: str | None
    as_json: bool
    data_dir: Path | None
    currency: str | None = None
    column_map: str | None = None

    def reading(self) -> "Reading":
        """Return how to read files. Raises BadParameter and UnreadableFile."""
        from commerce.imports import Reading
        from commerce.imports.column_maps import load_map

        if self.currency is not None and not re.fullmatch("[A-Z]{3}", self.currency):
            raise typer.BadParameter("must be three letters, like GBP", param_hint="--currency")
        return Reading(
            encoding=self.encoding,
            timezone=_zone(self.timezone) if self.timezone else None,
            dates=_one_of("dates", self.dates, DATES),
            decimal=_one_of("decimal", self.decimal, MARKS),
            symbols=self.currency is not None,
            column_map=load_map(self.column_map) if self.column_map else None,
        )

    def words(self, *, skip_bad: bool) -> list[str]:
        """Return the options as they are written in a command."""
        given = {
            "--data-dir": self.data_dir,
            "--map": self.column_map,
            "--encoding": self.encoding,
            "--timezone": self.timezone,
            "--dates": self.dates,
            "--decimal": self.decimal,
            "--currency": self.currency,
            "--report": self.report,
        }
        words = [word for name, value in given.items() if value is not None for word in (name, str(value))]
        return [*(["--skip-bad"] if skip_bad else []), *(["--json"] if self.as_json else []), *words]


ImportFiles = Callable[["Database", Settings, Callable[[int], None], "Options"], Awaitable["ImportReport"]]
DATES, MARKS = ("day-first", "month-first"), ("point", "comma")


class Kind(NamedTuple):
    """A kind of files to import."""

    command: str  # orders
    noun: str  # what is counted, in the singular
    columns: "Columns"
    known: str = ""  # what to say if everything was known already


def run_import(
    kind: Kind, files: Sequence[Path], given: FileOptions, import_files: ImportFiles, extra: Sequence[str] = ()
) -> int:
    """Import files, show the progress and the report, and return the exit code.

    `extra` are options of this kind alone, as they are written in a command. Raises what the import raises.
    """
    from commerce.imports import Options
    from commerce.imports.bad_rows_file import BadRowsFile

    if given.report is not None and any(given.report.resolve() == file.resolve() for file in files):
        raise typer.BadParameter("must not be a file to import", param_hint="--report")
    if given.report is not None and not given.report.resolve().parent.is_dir():
        raise typer.BadParameter("its folder does not exist", param_hint="--report")  # before anything is imported
    interruptions: list[str] = []
    reading = given.reading()  # wrong options are an error before anything is connected
    refused = BadRowsFile(given.report) if given.report is not None else None

    async def action(database: "Database", settings: Settings) -> "ImportReport":
        options = Options(
            reading=reading._replace(timezone=reading.timezone or settings.zone),
            dry_run=given.dry_run,
            on_bad_row=None if refused is None else refused.add,
            on_interrupt=interruptions.append,
        )
        with Progress() as progress:
            ticking = asyncio.create_task(progress.tick())
            try:
                return await import_files(database, settings, progress.update, options)
            finally:
                ticking.cancel()

    try:
        report = run_with_database(given.data_dir, action)
    except KeyboardInterrupt:
        print_error(f"Interrupted: {', '.join(interruptions) or 'nothing was imported'}")
        return INTERRUPTED
    if given.as_json:
        out.print_json(report.model_dump_json())
    else:
        print_report(report, kind.noun)
        if kind.known and report.unchanged and not (report.taken or report.bad_count):
            print_error(kind.known)
        if report.taken and not report.dry_run and kind.command == "orders":
            run_in_transaction(given.data_dir, print_open_orders)
    if refused is not None and report.bad_count:
        number = refused.write(files, kind.columns, reading)
        print_error(f"{count_of(number, 'row')} with reasons written to {given.report}")
    return _conclude(report, kind.command, files, given, extra)


def show_columns(kind: Kind, files: Sequence[Path], given: FileOptions) -> int:
    """Show how the header of each file is understood. Raises UnreadableFile."""
    from rich.table import Table

    from commerce.imports.csv_rows import read_layout
    from commerce.imports.dialects import SEPARATORS
    from commerce.imports.input_file import InputFile

    layouts = {str(path): read_layout(InputFile.of(path, given.reading()), kind.columns) for path in files}
    if given.as_json:
        shown: dict[str, Any] = {
            file: {
                "encoding": layout.encoding,
                "separator": layout.dialect.separator,
                "columns": dict(layout.mapper.sources),
                "ignored": layout.ignored(),
            }
            for file, layout in layouts.items()
        }
        out.print_json(data=shown)
        return 0
    for file, layout in layouts.items():
        print_line(f"{file}: {layout.encoding}, separated by {SEPARATORS.get(layout.dialect.separator, 'sep=')}")
        table, found = Table("our column", "column of the file"), dict(layout.mapper.sources)
        for name in (*kind.columns.required, *(name for name in kind.columns.optional if name in found)):
            table.add_row(name, found.get(name, "-"))
        out.print(table)
        print_line(f"Ignored: {', '.join(layout.ignored()) or 'nothing'}")
    return 0


class Progress:
    """Shows how far an import is: on a terminal in one line that changes, elsewhere in a line every few seconds."""

    def __init__(self) -> None:
        """Start with no row."""
        self._rows, self._since = 0, time.monotonic()
        self._printed = self._since

    def __enter__(self) -> "Progress":
        self._status = err.status("Reading …")
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def update(self, rows: int) -> None:
        """Note the number of rows read so far."""
        if rows != self._rows:
            self._rows, self._since = rows, time.monotonic()
        self._show()

    async def tick(self) -> None:
        """Show the time that storing takes, until cancelled."""
        while True:
            await asyncio.sleep(TICK)
            self._show()

    def _show(self) -> None:
        now = time.monotonic()
        storing = now - self._since > STORING_SECONDS and self._rows > 0
        line = f"{self._rows:,} rows read" + (f", storing them for {now - self._since:.0f} s" if storing else "")
        if err.is_terminal:
            self._status.update(line)
        elif now - self._printed >= LINE_SECONDS:
            self._printed = now
            print_error(line)


def _conclude(
    report: "ImportReport", kind: str, files: Sequence[Path], given: FileOptions, extra: Sequence[str]
) -> int:
    """Print what to do next, and return the exit code."""

    def command(*, skip_bad: bool) -> str:
        return shlex.join(["commerce", "import", kind, *given.words(skip_bad=skip_bad), *extra, *map(str, files)])

    bad = count_of(report.bad_count, "bad row")
    if report.dry_run:
        if report.bad_count and not given.skip_bad:
            print_error(f"{bad}: without --skip-bad, nothing of their files is imported")
        if report.taken:
            print_error(f"To import: {command(skip_bad=bool(report.bad_count))}")
    elif report.bad_count and given.skip_bad:
        print_error(f"{bad}: left out")
    elif report.bad_count:
        print_error(f"{bad}: their files were not imported. To import the rest: {command(skip_bad=True)}")
    return FAILED if report.bad_count else 0


def _zone(name: str) -> ZoneInfo:
    with suppress(ValueError, OSError, KeyError):
        return ZoneInfo(name)
    raise typer.BadParameter(f"there is no time zone {name}; it has a name like Europe/Berlin", param_hint="--timezone")


def _one_of(option: str, value: str | None, words: Sequence[str]) -> Any:
    if value is not None and value not in words:
        raise typer.BadParameter(f"must be {' or '.join(words)}", param_hint=f"--{option}")
    return value
