"""Read a CSV file, plain or gzip, row by row."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar, cast

from commerce.errors import UnreadableFile
from commerce.imports.parsers import BadValue

T = TypeVar("T")

GZIP_MAGIC = b"\x1f\x8b"
MAX_ROW = 1024 * 1024  # characters, with all lines of the row
MAX_EMPTY_ROWS = 2_000_000  # of a file; a spreadsheet has 1,048,576 rows


class Columns(NamedTuple):
    """The columns of a kind of file; all others are ignored, unless `others` keeps them under their own names."""

    required: Sequence[str]
    optional: Sequence[str] = ()
    aliases: Sequence[tuple[str, str]] = ()  # (name in the file, our name)
    others: bool = False
    check: Callable[[Sequence[str]], str | None] | None = None  # returns what is wrong with a header, in our names


@dataclass(slots=True)
class Row:
    """One row, and its problems by column (None: a problem of the row as a whole)."""

    line: int  # of the file, at which the row starts; the header is line 1
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


@contextmanager
def open_rows(path: Path, columns: Columns) -> Iterator[Iterator[Row]]:
    """Open a file and yield its rows without the empty ones. Opening and reading raise UnreadableFile."""
    with _open_text(path) as stream:
        yield _read_rows(str(path), stream, columns)


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UnreadableFile(str(path), (error.strerror or "it cannot be opened").lower()) from error
    with raw:
        is_gzip = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        if path.suffix.lower() == ".gz" and not is_gzip:
            raise UnreadableFile(str(path), "it is named .gz but is not gzip")
        stream = gzip.GzipFile(fileobj=raw) if is_gzip else raw
        with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            yield text


class _Lines:
    """The lines of a file. Raises UnreadableFile if a row is too long, before it is in memory as a whole."""

    def __init__(self, file: str, stream: TextIO) -> None:
        self._file, self._stream = file, stream
        self._left = MAX_ROW  # characters of the current row

    def __iter__(self) -> Iterator[str]:
        while line := self._stream.readline(self._left + 1):
            self._left -= len(line)
            if self._left < 0:
                raise UnreadableFile(self._file, f"it has a row of more than {MAX_ROW:,} characters")
            yield line

    def start_row(self) -> None:
        """Start to count the characters of the next row."""
        self._left = MAX_ROW


def _read_rows(file: str, stream: TextIO, columns: Columns) -> Iterator[Row]:
    lines = _Lines(file, stream)
    reader = csv.reader(lines, strict=True)
    empty = 0
    try:
        header = _read_header(file, next(reader, None), columns)
        lines.start_row()
        known = {*columns.required, *columns.optional}
        positions = {name: i for i, name in enumerate(header) if name in known or (columns.others and name)}
        width, last_line = len(header), reader.line_num
        for cells in reader:
            lines.start_row()
            row, last_line = Row(last_line + 1, cells, positions), reader.line_num
            if len(cells) != width:
                row.add_problem(None, f"must have {width} cells like the header, not {len(cells)}")
                cells += [""] * (width - len(cells))
            if any(cells):
                yield row
            elif (empty := empty + 1) > MAX_EMPTY_ROWS:
                raise UnreadableFile(file, f"it has more than {MAX_EMPTY_ROWS:,} empty rows")
    except csv.Error as error:
        raise UnreadableFile(file, f"line {reader.line_num} is not valid CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(file, "it is not UTF-8 text") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFile(file, f"it is truncated or corrupt ({type(error).__name__})") from error


def _read_header(file: str, cells: list[str] | None, columns: Columns) -> list[str]:
    if cells is None:
        raise UnreadableFile(file, "it is empty")
    aliases = dict(columns.aliases)
    header = [aliases.get(name, name) for name in (cell.strip() for cell in cells)]
    if missing := [name for name in columns.required if name not in header]:
        raise UnreadableFile(file, f"it lacks the columns {', '.join(missing)}")
    if columns.check is not None and (problem := columns.check(header)):
        raise UnreadableFile(file, problem)
    read = {name for name in header if name} if columns.others else (*columns.required, *columns.optional)
    if repeated := [name for name in read if header.count(name) > 1]:
        raise UnreadableFile(file, f"it has more than one column named {', '.join(repeated)}")
    return header
