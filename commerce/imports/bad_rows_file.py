"""Write the refused rows of an import to a CSV file for people, with the reasons."""

import csv
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from commerce.imports.columns import Columns, SameColumns
from commerce.imports.csv_rows import Row, open_rows, read_layout
from commerce.imports.input_file import InputFile, Reading
from commerce.imports.report import BadRow

MAX_ROWS = 100_000  # bad rows that are kept with their reasons
HEADER = ("File", "Line", "Reason")
SAME_ORDER = "belongs to a refused row"
# Spreadsheets run cells that start like this as formulas.
FORMULA = re.compile(r"[=+\-@\t\r]")
NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")


class BadRowsFile:
    """Collects bad rows, and writes them with all rows of their orders or carts, so that none is written in part."""

    def __init__(self, path: Path) -> None:
        """Write to this file later."""
        self._path = path
        self._reasons: dict[str, dict[int, str]] = defaultdict(dict)
        self._kept = 0

    def add(self, bad_row: BadRow) -> None:
        """Keep a bad row; of very many, only the first ones."""
        if self._kept < MAX_ROWS:
            self._kept += 1
            self._reasons[bad_row.file].setdefault(bad_row.line, bad_row.reason)

    def write(self, files: Sequence[Path], columns: Columns, reading: Reading) -> int:
        """Write the rows, readable for this user only, and return their number. Raises OSError and UnreadableFile.

        The files are read again. Those of a column map are written in the columns of a shop admin's export.
        """
        number = 0
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with closing(os.fdopen(descriptor, "w", encoding="utf-8-sig", newline="")) as file:
            os.fchmod(descriptor, 0o600)
            writer = csv.writer(file)
            for path in files:
                if (reasons := self._reasons.get(str(path))) is None:
                    continue
                header, rows = _read(path, columns, reading)
                writer.writerow([*HEADER, *header])
                for row, reason in _with_reasons(rows, reasons):
                    writer.writerow(map(_harmless, (str(path), str(row.line), reason, *row.cells)))
                    number += 1
        return number


def _read(path: Path, columns: Columns, reading: Reading) -> tuple[Sequence[str], Iterator[Row]]:
    if not path.is_file():
        return (), iter(())  # a pipe cannot be read again
    layout = read_layout(InputFile.of(path, reading), columns)
    same = isinstance(layout.mapper, SameColumns)
    return layout.dialect.header if same else list(layout.mapper.positions), _rows(path, columns, reading)


def _rows(path: Path, columns: Columns, reading: Reading) -> Iterator[Row]:
    with open_rows(InputFile.of(path, reading), columns) as rows:
        yield from rows


def _with_reasons(rows: Iterable[Row], reasons: dict[int, str]) -> Iterator[tuple[Row, str]]:
    """Yield the bad rows and the others of their groups, which have the same name."""
    group: list[Row] = []
    for row in rows:
        if group and not _belongs(row, group[0]):
            yield from _bad_group(group, reasons)
            group = []
        group.append(row)
    yield from _bad_group(group, reasons)


def _belongs(row: Row, first: Row) -> bool:
    if "Lineitem sku" not in row.positions:  # rows of an inventory stand alone
        return False
    column = "Name" if "Name" in row.positions and first.text("Name") else "Id"
    return row.text(column) in ("", first.text(column))


def _bad_group(group: Sequence[Row], reasons: dict[int, str]) -> Iterator[tuple[Row, str]]:
    if any(row.line in reasons for row in group):
        yield from ((row, reasons.get(row.line, SAME_ORDER)) for row in group)


def _harmless(cell: str) -> str:
    return f"'{cell}" if FORMULA.match(cell) and not NUMBER.fullmatch(cell) else cell
