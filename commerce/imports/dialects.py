"""Find out how a file separates its cells, and which of its rows is the header.

The names of the columns are known, so the separator is the one that makes the most of them appear. This beats guessing
by the shape of the rows (`csv.Sniffer`, `clevercsv`): a note full of semicolons or one lonely row cannot mislead it.
"""

import csv
import difflib
import io
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

SEPARATORS = {",": "','", ";": "';'", "\t": "tabs", "|": "'|'"}
SEP_LINE = re.compile(r'"?sep=(.)"?[,;\t|]*\s*', re.IGNORECASE)
HEADER_ROWS = 10  # from the start of the file, among which the header is
LOOKS_LIKE = 0.7  # from 0 to 1


class Dialect(NamedTuple):
    """How a file is written."""

    separator: str
    skipped: int  # rows before the header
    header: list[str]  # names as they stand in the file


def fold(name: str) -> str:
    """Return a column's name as it is compared: in small letters, with single blanks."""
    return " ".join(name.replace("\ufeff", "").split()).casefold()


def find_dialect(start: str, names: Collection[str]) -> Dialect | None:
    """Return the dialect of a text that starts like this; `names` are folded. None: there is no row at all.

    A line like `sep=;` says the separator, as spreadsheets write and read it.
    """
    said = SEP_LINE.fullmatch(io.StringIO(start, newline="").readline().lstrip("\ufeff"))
    best, best_score = None, -1
    for separator in [said[1]] if said else SEPARATORS:
        for index, row in enumerate(_first_rows(start, separator)):
            if (said and index == 0) or not any(cell.strip() for cell in row):
                continue
            score = len({fold(cell) for cell in row} & set(names))
            if score > best_score:
                best, best_score = Dialect(separator, index, row), score
    return best


def look_alikes(missing: Sequence[str], header: Sequence[str]) -> Mapping[str, str]:
    """Return which column of the header looks like a missing one, by the missing one."""
    folded = {fold(name): name for name in header}
    found = {name: difflib.get_close_matches(fold(name), folded, 1, LOOKS_LIKE) for name in missing}
    return {name: folded[matches[0]] for name, matches in found.items() if matches}


def _first_rows(start: str, separator: str) -> list[list[str]]:
    rows: list[list[str]] = []
    with suppress(csv.Error):  # such as a cell that is too long: the rows before it count
        rows.extend(islice(csv.reader(io.StringIO(start, newline=""), delimiter=separator), HEADER_ROWS))
    return rows
