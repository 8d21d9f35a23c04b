"""Read a CSV file, plain or gzip, row by row, into the columns and the notation of a shop admin's export."""

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar, cast

from commerce.errors import UnreadableFile
from commerce.imports.column_maps import recognise
from commerce.imports.columns import Columns, Mapper, SameColumns, known_names
from commerce.imports.dialects import SEPARATORS, Dialect, find_dialect
from commerce.imports.input_file import InputFile, Reading
from commerce.imports.notation import PLAIN, Notation, QuickTest
from commerce.imports.parsers import BadValue
from commerce.imports.text_files import READ_ERRORS, OpenText, damaged, encoding_note, open_text, undecodable

__all__ = ["Columns", "Layout", "Row", "open_rows", "read_layout"]

T = TypeVar("T")

MAX_ROW = 1024 * 1024  # characters, with all lines of the row
MAX_EMPTY_ROWS = 2_000_000  # of a file; a spreadsheet has 1,048,576 rows
SAMPLE_ROWS = 2_000  # of which the notation is found out
CSV_ERRORS = {
    "expected after": 'a quote (") inside a quoted cell must be written twice',
    "unexpected end of data": 'a cell that starts with a quote (") does not end with one',
    "field larger than field limit": "a cell is longer than 131,072 characters: perhaps a quote is missing",
}


@dataclass(slots=True)
class Row:
    """One row, and its problems by column (None: a problem of the row as a whole)."""

    line: int  # of the file, at which the row starts; the first line is 1
    cells: Sequence[str]
    positions: Mapping[str, int]  # of the columns among the cells
    problems: dict[str | None, str] = field(default_factory=dict)

    def text(self, column: str) -> str:
        """Return a cell, trimmed; empty if the file has no such column."""
        position = self.positions.get(column)
        return "" if position is None else self.cells[position].strip()

    def parse(self, column: str, parser: Callable[[str], T]) -> T:
        """Return a cell's value. If it is invalid, add a problem; the result is of no use."""
        try:
            return parser(self.text(column))
        except BadValue as problem:
            self.add_problem(column, str(problem))
            return cast("T", None)

    def add_problem(self, column: str | None, problem: str) -> None:
        """Mark the row as bad; the first problem of a column stays."""
        self.problems.setdefault(column, problem)

    def reason(self) -> str:
        """Return all problems as one text, like `Id: must not be empty; Lineitem price: …`."""
        return "; ".join(f"{column}: {problem}" if column else problem for column, problem in self.problems.items())


class Layout(NamedTuple):
    """What a file's header was understood as."""

    encoding: str
    dialect: Dialect
    mapper: Mapper

    def ignored(self) -> list[str]:
        """Return the columns of the file that nothing is made of."""
        return [
            name.strip() for i, name in enumerate(self.dialect.header) if i not in self.mapper.used and name.strip()
        ]


@contextmanager
def open_rows(path: Path, columns: Columns) -> Iterator[Iterator[Row]]:
    """Open a file and yield its rows without the empty ones. Opening and reading raise UnreadableFile.

    An InputFile says how to read it and gets notes on what was found out. Times, amounts and numbers are in the
    notation of a shop admin's export wherever the file leaves no doubt, and unchanged otherwise.
    """
    reading = _reading_of(path)
    with open_text(path, reading.encoding) as text:
        layout = _understand(path, text, columns, reading)
        notation = Notation(layout.mapper.positions, reading, layout.mapper.dates)
        notation.learn(islice(_sample_rows(text, _understand(path, text, columns, reading)), SAMPLE_ROWS))
        if isinstance(path, InputFile):
            path.notes += filter(None, (encoding_note(text), _separator_note(layout.dialect), *notation.notes()))
        yield _read_rows(path, text.stream, layout, notation)


def read_layout(path: Path, columns: Columns) -> Layout:
    """Return what a file's header is understood as. Raises UnreadableFile."""
    reading = _reading_of(path)
    with open_text(path, reading.encoding) as text:
        return _understand(path, text, columns, reading)


def _reading_of(path: Path) -> Reading:
    return path.reading if isinstance(path, InputFile) else Reading()


def _understand(path: Path, text: OpenText, columns: Columns, reading: Reading) -> Layout:
    start = text.sample[: MAX_ROW + 1]
    if (len(start) > MAX_ROW or not text.complete) and "\n" not in start and "\r" not in start:
        raise _too_long(path)
    column_map = reading.column_map
    dialect = find_dialect(start, known_names(columns) if column_map is None else column_map.names())
    if dialect is None:
        raise UnreadableFile(str(path), "it is empty")
    try:
        if column_map is None:
            return Layout(text.encoding, dialect, SameColumns(columns, dialect.header))
        return Layout(text.encoding, dialect, column_map.bind(columns, dialect.header))
    except BadValue as problem:
        _check_header(path, start, dialect)
        if column_map is None and (known := recognise(dialect.header)):
            reason = f"it is {known.title}: commerce import orders --map {known.map_name}"
            raise UnreadableFile(str(path), reason) from None
        raise UnreadableFile(str(path), str(problem)) from None


def _separator_note(dialect: Dialect) -> str | None:
    return None if dialect.separator == "," else f"cells are separated by {SEPARATORS.get(dialect.separator, 'sep=')}"


def _sample_rows(text: OpenText, layout: Layout) -> Iterator[Sequence[str]]:
    """Yield the cells of the first rows; stop at what is no row, since the real reading reports it."""
    reader = csv.reader(io.StringIO(text.sample, newline=""), delimiter=layout.dialect.separator)
    width = len(layout.dialect.header)
    try:
        for cells in islice(reader, layout.dialect.skipped + 1, None):
            if len(cells) == width:
                yield from (row.cells for row in layout.mapper.rows(cells))
    except csv.Error:
        return


class _Lines:
    """The lines of a file. Raises UnreadableFile if a row is too long, before it is in memory as a whole."""

    def __init__(self, path: Path, stream: TextIO) -> None:
        self._path, self._stream = path, stream
        self._left = MAX_ROW  # characters of the current row

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise _too_long(self._path)
            yield line

    def start_row(self) -> None:
        """Start to count the characters of the next row."""
        self._left = MAX_ROW


def _too_long(path: Path) -> UnreadableFile:
    return UnreadableFile(str(path), f"it has a row of more than {MAX_ROW:,} characters")


def _read_rows(path: Path, stream: TextIO, layout: Layout, notation: Notation) -> Iterator[Row]:
    lines, mapper, width = _Lines(path, stream), layout.mapper, len(layout.dialect.header)
    reader = csv.reader(lines, strict=True, delimiter=layout.dialect.separator)
    positions, last_used, quick, empty = mapper.positions, max(mapper.used), notation.quick_test(), 0
    never = QuickTest(lambda _: (), lambda _: (), count_place=width)
    plain, times, count = never if quick is None or not isinstance(mapper, SameColumns) else quick
    try:
        for _ in range(layout.dialect.skipped + 1):
            next(reader, None)
            lines.start_row()
        last_line = reader.line_num
        for cells in reader:
            lines.start_row()
            line, last_line = last_line + 1, reader.line_num
            number = len(cells)
            if (
                count < number == width
                and cells[count].isdigit()
                and not "".join(plain(cells)).strip(PLAIN)
                and not any(times(cells))
            ):
                yield Row(line, cells, positions, {})
            elif not any(cells):
                if (empty := empty + 1) > MAX_EMPTY_ROWS:
                    raise UnreadableFile(str(path), f"it has more than {MAX_EMPTY_ROWS:,} empty rows")
            elif number != width and (problem := _fit(cells, width, last_used)):
                yield Row(line, cells, positions, {None: problem})
            else:
                for mapped in mapper.rows(cells):
                    problems = notation.apply(mapped.cells, dict(mapped.problems))
                    for part in mapper.split(mapped.cells):
                        yield Row(line, part, positions, problems)
                        problems = {}
    except csv.Error as error:
        raise _not_csv(path, reader.line_num, error) from error
    except UnicodeDecodeError as error:
        raise undecodable(path, layout.encoding) from error
    except READ_ERRORS as error:
        raise damaged(path, error) from error


def _not_csv(path: Path, line: int, error: csv.Error) -> UnreadableFile:
    reason = next((text for part, text in CSV_ERRORS.items() if part in str(error)), "it is damaged")
    return UnreadableFile(str(path), f"line {line} is not valid CSV: {reason} ({error})")


def _check_header(path: Path, start: str, dialect: Dialect) -> None:
    """Raise UnreadableFile if the reason why columns are missing is that the header is not valid CSV."""
    reader = csv.reader(io.StringIO(start, newline=""), strict=True, delimiter=dialect.separator)
    try:
        for _ in range(dialect.skipped + 1):
            next(reader, None)
    except csv.Error as error:
        raise _not_csv(path, reader.line_num, error) from error


def _fit(cells: list[str], width: int, last_used: int) -> str | None:
    """Give a row as many cells as the header has; return the problem unless only empty or ignored ones are affected."""
    number = len(cells)
    if not any(cells[width:]):
        del cells[width:]
    cells += [""] * (width - number)
    if len(cells) == width and number > last_used:
        return None
    return f"must have {width} cells like the header, not {number}"
