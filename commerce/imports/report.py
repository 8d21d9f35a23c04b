"""The report of an import: how many rows were read, what was imported, and which rows are bad and why."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import Field

from commerce.imports.csv_rows import Row
from commerce.messages.base import Message

MAX_BAD_ROWS = 1_000  # listed, as many as warnings; all are counted
PROGRESS_ROWS = 10_000  # between two calls of `progress`

Progress = Callable[[int], None]  # rows read so far


def describe_interruption(file: Path, imported: Sequence[Path], *, storing: bool) -> str:
    """Return what became of the files; `storing` is whether the database was storing the current one."""
    if storing:
        outcome = f"{file} is imported completely or not at all; importing it again changes nothing twice"
    else:
        outcome = f"nothing of {file} was imported"
    return outcome + (f"; imported before it: {', '.join(map(str, imported))}" if imported else "")


class BadRow(Message):
    """A row that was not imported, or that is odd. The reason never contains a value, which may be personal."""

    file: str
    line: int  # at which the row starts; the header is line 1
    reason: str


class ImportReport(Message):
    """The outcome of an import. An order or cart counts as one, however many rows it has; inventory counts levels."""

    read: int = 0  # rows
    taken: int = 0  # orders, carts or levels that changed something
    changed: int = 0  # those of them that were known with other content
    unchanged: int = 0  # orders, carts or levels that were imported before
    bad: list[BadRow] = Field(default=[])  # the first ones
    bad_count: int = 0  # all bad rows
    warnings: list[BadRow] = Field(default=[])  # the first rows that were imported although something is odd
    warning_count: int = 0  # all warnings
    notes: list[str] = Field(default=[])  # what was found out about how files are written
    dry_run: bool = False  # whether nothing was imported, and the counts are those of an import that skips bad rows
    to_process: int = 0  # in a dry run: the orders that would wait to be processed then, and do not yet

    def __add__(self, other: "ImportReport") -> "ImportReport":
        """Return the report of both imports."""
        return ImportReport(
            read=self.read + other.read,
            taken=self.taken + other.taken,
            changed=self.changed + other.changed,
            unchanged=self.unchanged + other.unchanged,
            notes=[*self.notes, *(note for note in other.notes if note not in self.notes)],
            dry_run=self.dry_run or other.dry_run,
            to_process=self.to_process + other.to_process,
            bad=[*self.bad, *other.bad][:MAX_BAD_ROWS],
            bad_count=self.bad_count + other.bad_count,
            warnings=[*self.warnings, *other.warnings][:MAX_BAD_ROWS],
            warning_count=self.warning_count + other.warning_count,
        )


class Tally:
    """Counts the rows of one file during its import, and collects the bad ones."""

    def __init__(
        self,
        file: str,
        *,
        skip_bad: bool,
        rows_before: int = 0,
        progress: Progress | None = None,
        on_bad_row: Callable[[BadRow], None] | None = None,
    ) -> None:
        """Start at zero; `rows_before` are those of earlier files, which progress includes.

        `on_bad_row` gets all bad rows, the report only the first ones.
        """
        self.read = self.taken = self.changed = self.unchanged = self.bad_count = self.to_process = 0
        self._skip_bad = skip_bad
        self._file, self._rows_before, self._progress = file, rows_before, progress
        self.warning_count = 0
        self._bad: list[BadRow] = []
        self._warnings: list[BadRow] = []
        self._on_bad_row = on_bad_row
        self._notes: list[str] = []

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Yield the rows, counting them."""
        for row in rows:
            self.read += 1
            if self.read % PROGRESS_ROWS == 0:
                self.report_progress()
            yield row
        self.report_progress()

    def report_progress(self) -> None:
        """Report the number of rows read so far, over all files."""
        if self._progress is not None:
            self._progress(self._rows_before + self.read)

    @property
    def rejected(self) -> bool:
        """Whether nothing of the file may be imported, because it has a bad row and these are not skipped."""
        return self.bad_count > 0 and not self._skip_bad

    def add_bad_row(self, line: int, reason: str) -> None:
        """Count a row as bad."""
        self.bad_count += 1
        bad_row = BadRow(file=self._file, line=line, reason=reason)
        if len(self._bad) < MAX_BAD_ROWS:
            self._bad.append(bad_row)
        if self._on_bad_row is not None:
            self._on_bad_row(bad_row)

    def add_warning(self, line: int, reason: str) -> None:
        """Count a row as odd; it is imported all the same."""
        self.warning_count += 1
        if len(self._warnings) < MAX_BAD_ROWS:
            self._warnings.append(BadRow(file=self._file, line=line, reason=reason))

    def add_note(self, note: str) -> None:
        """Note what the report says once about the whole file."""
        self._notes.append(note)

    def report(self) -> ImportReport:
        """Return the counts, and the bad rows and warnings by line."""
        return ImportReport(
            read=self.read,
            taken=self.taken,
            changed=self.changed,
            unchanged=self.unchanged,
            to_process=self.to_process,
            notes=[] if self.rejected else [f"{self._file}: {note}" for note in self._notes],
            bad=sorted(self._bad, key=lambda row: row.line),
            bad_count=self.bad_count,
            warnings=[] if self.rejected else sorted(self._warnings, key=lambda row: row.line),
            warning_count=0 if self.rejected else self.warning_count,
        )
