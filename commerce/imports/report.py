"""What an import tells of itself: how much was read and taken in, and which rows are bad and why."""

from collections.abc import Callable, Iterable, Iterator

from pydantic import Field

from commerce.imports.csv_rows import Row
from commerce.messages.base import Message

MAX_BAD_ROWS = 1_000  # kept; all are counted
PROGRESS_ROWS = 10_000  # between two calls of progress

Progress = Callable[[int], None]


class BadRow(Message):
    """A row that was not taken in, by the line it begins at (the header is line 1); the reason shows no content."""

    file: str
    line: int
    reason: str


class ImportReport(Message):
    """How an import ended. Orders and carts count as one however many rows they have; inventory counts rows."""

    read: int = 0  # rows
    taken: int = 0  # orders, carts, or rows of inventory, that changed something
    unchanged: int = 0  # those that were known just so
    bad: list[BadRow] = Field(default=[])  # the first ones
    bad_count: int = 0  # all rows that are bad

    def __add__(self, other: "ImportReport") -> "ImportReport":
        """Return the report of both."""
        return ImportReport(
            read=self.read + other.read,
            taken=self.taken + other.taken,
            unchanged=self.unchanged + other.unchanged,
            bad=[*self.bad, *other.bad][:MAX_BAD_ROWS],
            bad_count=self.bad_count + other.bad_count,
        )


class Tally:
    """Counts for one file while it is taken in."""

    def __init__(self, file: str, *, skip_bad: bool, start: int = 0, progress: Progress | None = None) -> None:
        """Report progress from this number of rows on, those of earlier files."""
        self._skip_bad = skip_bad
        self.read = self.taken = self.unchanged = self.bad_count = 0
        self._file, self._start, self._progress = file, start, progress
        self._bad: list[BadRow] = []

    def count(self, rows: Iterable[Row]) -> Iterator[Row]:
        """Pass rows on, counting them."""
        for row in rows:
            self.read += 1
            if self.read % PROGRESS_ROWS == 0:
                self.tell()
            yield row

    def tell(self) -> None:
        """Report the number of rows so far, over all files."""
        if self._progress is not None:
            self._progress(self._start + self.read)

    @property
    def spoilt(self) -> bool:
        """Tell whether nothing of the file may be taken in, because of a bad row."""
        return self.bad_count > 0 and not self._skip_bad

    def refuse(self, line: int, reason: str) -> None:
        """Count a row as bad."""
        self.bad_count += 1
        if len(self._bad) < MAX_BAD_ROWS:
            self._bad.append(BadRow(file=self._file, line=line, reason=reason))

    def report(self) -> ImportReport:
        """Return the counts, bad rows by line."""
        return ImportReport(
            read=self.read,
            taken=self.taken,
            unchanged=self.unchanged,
            bad=sorted(self._bad, key=lambda row: row.line),
            bad_count=self.bad_count,
        )
