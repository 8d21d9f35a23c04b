"""Reads the rows of a CSV file, gzip or plain, one at a time, each with the line it begins at."""

import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, TextIO, TypeVar

from commerce.errors import PermanentError
from commerce.imports.cells import BadValue

T = TypeVar("T")

GZIP_MAGIC = b"\x1f\x8b"


@dataclass(eq=False)
class UnreadableFile(PermanentError):
    """{file} cannot be taken in: {reason}."""

    file: str
    reason: str


class Columns(NamedTuple):
    """The columns a kind of file has: those it must have, those it may have, and other names for them."""

    required: Sequence[str]
    optional: Sequence[str] = ()
    also: Sequence[tuple[str, str]] = ()  # (name in the file, our name)


@dataclass(slots=True)
class Row:
    """One row: its cells by column, trimmed, and what is wrong with them."""

    line: int
    cells: dict[str, str]
    problems: list[str] = field(default_factory=list)

    def text(self, column: str) -> str:
        """Return a cell as it is; a column the file does not have is empty."""
        return self.cells.get(column, "").strip()

    def read(self, column: str, read: Callable[[str], T], otherwise: T) -> T:
        """Return a cell's value; where it does not fit, note the problem and go on with another one."""
        try:
            return read(self.text(column))
        except BadValue as problem:
            self.problems.append(f"{column}: {problem}")
            return otherwise


@contextmanager
def open_rows(path: Path, columns: Columns) -> Iterator[Iterator[Row]]:
    """Open a file for reading row by row; opening and reading raise UnreadableFile. Empty rows are passed over."""
    with _open_text(path) as stream:
        yield _rows(str(path), stream, columns)


@contextmanager
def _open_text(path: Path) -> Iterator[TextIO]:
    try:
        raw = path.open("rb")
    except OSError as error:
        raise UnreadableFile(str(path), (error.strerror or "it cannot be opened").lower()) from error
    with raw:
        packed = raw.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC)
        if path.suffix.lower() == ".gz" and not packed:
            raise UnreadableFile(str(path), "it is named .gz but is not gzip")
        stream = gzip.GzipFile(fileobj=raw) if packed else raw
        with io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text:
            yield text


def _rows(file: str, stream: Iterable[str], columns: Columns) -> Iterator[Row]:
    reader = csv.reader(stream, strict=True)
    try:
        header = _header(file, next(reader, None), columns)
        places = [(name, i) for i, name in enumerate(header) if name in {*columns.required, *columns.optional}]
        last = reader.line_num
        for cells in reader:
            line, last = last + 1, reader.line_num
            if any(cells):
                yield _row(line, cells, places, len(header))
    except csv.Error as error:
        raise UnreadableFile(file, f"line {reader.line_num} is not CSV ({error})") from error
    except UnicodeDecodeError as error:
        raise UnreadableFile(file, "it is not UTF-8 text") from error
    except (EOFError, OSError, zlib.error) as error:
        raise UnreadableFile(file, f"it breaks off or is damaged ({type(error).__name__})") from error


def _row(line: int, cells: list[str], places: list[tuple[str, int]], width: int) -> Row:
    if len(cells) == width:
        return Row(line, {name: cells[place] for name, place in places})
    here = {name: cells[place] for name, place in places if place < len(cells)}
    return Row(line, here, [f"must have {width} cells as the header has, not {len(cells)}"])


def _header(file: str, cells: list[str] | None, columns: Columns) -> list[str]:
    if cells is None:
        raise UnreadableFile(file, "it is empty")
    known_as = dict(columns.also)
    header = [known_as.get(name, name) for name in (cell.strip() for cell in cells)]
    if missing := [name for name in columns.required if name not in header]:
        raise UnreadableFile(file, f"it lacks the columns {', '.join(missing)}")
    if twice := [name for name in (*columns.required, *columns.optional) if header.count(name) > 1]:
        raise UnreadableFile(file, f"it has more than one column {', '.join(twice)}")
    return header
