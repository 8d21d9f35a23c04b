"""Find the columns of a kind of file in a header, whatever their order, case and blanks."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from commerce.imports.dialects import fold, look_alikes
from commerce.imports.input_file import DateOrder
from commerce.imports.parsers import BadValue

MAP_HINT = "rename them, or say with --map FILE.toml which column is which"


class Columns(NamedTuple):
    """The columns of a kind of file; all others are ignored, unless `others` keeps them under their own names."""

    required: Sequence[str]
    optional: Sequence[str] = ()
    aliases: Sequence[tuple[str, str]] = ()  # (name in the file, our name)
    others: bool = False
    check: Callable[[Sequence[str]], str | None] | None = None  # returns what is wrong with a header, in our names


class MappedRow(NamedTuple):
    """A row in our columns, made of a row of the file."""

    cells: list[str]
    problems: Mapping[str | None, str]  # by column, like those of a Row


class Mapper(Protocol):
    """Makes rows in our columns of a file's rows."""

    positions: Mapping[str, int]  # of our columns among the cells of its rows
    used: Collection[int]  # which columns of the file matter
    dates: DateOrder | None  # that all files of this kind have
    sources: Sequence[tuple[str, str]]  # (our column, which of the file's), to show

    def rows(self, cells: list[str]) -> Iterator[MappedRow]:
        """Yield the rows that a row of the file stands for, in order."""

    def split(self, cells: list[str]) -> Iterator[list[str]]:
        """Yield what is left to make of such a row when its numbers have our notation."""


class SameColumns:
    """The Mapper of a file whose columns are ours; its rows stay as they are."""

    dates: DateOrder | None = None

    def __init__(self, columns: Columns, header: Sequence[str]) -> None:
        """Find the columns in a header. Raises BadValue if one is missing or there twice."""
        names, folded = known_names(columns), [fold(name) for name in header]
        found = [
            names.get(name, cell.strip() if columns.others else "") for name, cell in zip(folded, header, strict=True)
        ]
        if missing := [name for name in columns.required if name not in found]:
            raise BadValue(
                missing_columns(missing, [name for name, ours in zip(header, found, strict=True) if not ours])
            )
        if columns.check is not None and (problem := columns.check(found)):
            raise BadValue(problem)
        read = {name for name in found if name} if columns.others else (*columns.required, *columns.optional)
        if repeated := [name for name in read if found.count(name) > 1]:
            raise BadValue(f"it has more than one column named {', '.join(repeated)}")
        self.positions: Mapping[str, int] = {name: i for i, name in enumerate(found) if name}
        self.used: Collection[int] = frozenset(self.positions.values())
        self.sources: Sequence[tuple[str, str]] = [(name, header[i].strip()) for name, i in self.positions.items()]

    def rows(self, cells: list[str]) -> Iterator[MappedRow]:
        """Yield this row."""
        yield MappedRow(cells, {})

    def split(self, cells: list[str]) -> Iterator[list[str]]:
        """Yield this row."""
        yield cells


def known_names(columns: Columns) -> dict[str, str]:
    """Return our names of the columns by the folded names that they may have in a file."""
    names = {fold(name): name for name in (*columns.required, *columns.optional)}
    return names | {fold(alias): ours for alias, ours in columns.aliases}


def missing_columns(missing: Sequence[str], others: Sequence[str]) -> str:
    """Return the message for a header without these columns; `others` are those of the header that are not known."""
    message = f"it lacks the columns {', '.join(missing)}"
    if alike := look_alikes(missing, [name for name in others if name.strip()]):
        pairs = ", ".join(f"{theirs.strip()!r} looks like {ours}" for ours, theirs in alike.items())
        return f"{message}; {pairs}: {MAP_HINT}"
    return message
