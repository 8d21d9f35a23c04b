"""A file to import: its path, and how to read it where it does not say so itself."""

from pathlib import Path, PosixPath
from typing import TYPE_CHECKING, Literal, NamedTuple
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from commerce.imports.column_maps import ColumnMap

DateOrder = Literal["day-first", "month-first"]
DecimalMark = Literal["point", "comma"]


class Reading(NamedTuple):
    """How to read files. What is None is found out from each file."""

    encoding: str | None = None  # a name that Python knows, such as windows-1252
    timezone: ZoneInfo | None = None  # of times without an offset; None: they are invalid
    dates: DateOrder | None = None  # of dates like 11/12/2026
    decimal: DecimalMark | None = None  # of amounts like 1,234
    symbols: bool = False  # whether amounts may have a currency symbol although the file has no column Currency
    column_map: "ColumnMap | None" = None  # None: the columns are those of a shop admin's export


class InputFile(PosixPath):
    """A path with the options to read it by; `notes` collects what reading found out, for the report."""

    reading: Reading
    notes: list[str]

    @classmethod
    def of(cls, path: Path, reading: Reading) -> "InputFile":
        """Return this path with these options and without notes."""
        file = cls(path)
        file.reading, file.notes = reading, []
        return file
