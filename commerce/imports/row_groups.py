"""Gathers the rows of one order or cart: they stand together, and what is its own is on the first of them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, TypeVar

from commerce.imports import cells
from commerce.imports.cells import SHORT_TEXT, filled, text
from commerce.imports.csv_rows import Row

LineT = TypeVar("LineT")
BlockT = TypeVar("BlockT", bound="Block[Any]")

NEVER = datetime.min.replace(tzinfo=UTC)  # where a time is bad

Refuse = Callable[[int, str], None]  # line, reason

name = filled(text(SHORT_TEXT))


class Block(ABC, Generic[LineT]):
    """Rows that stand together under one name; nothing is made of them when one of them is bad."""

    noun: ClassVar[str]  # with its article
    name_column: ClassVar[str]
    head_columns: ClassVar[tuple[str, ...]]  # all empty: no first row
    max_lines: ClassVar[int]

    def __init__(self, first: Row, own_id: str, refuse: Refuse) -> None:
        """Begin with the first row, without taking it in."""
        self.line, self.id, self.good = first.line, own_id, True
        self._refuse = refuse
        self._lines: list[LineT] = []

    @abstractmethod
    def goes_on(self, row: Row) -> bool:
        """Tell whether a row is a further line of this block; one that names none is taken for one."""

    @abstractmethod
    def close(self) -> None:
        """Make of a good block what its rows say, and let go of them."""

    @abstractmethod
    def _read_head(self, row: Row) -> None:
        """Read what only a first row says."""

    @abstractmethod
    def _read_line(self, row: Row) -> LineT:
        """Read what every row says."""

    def add(self, row: Row) -> None:
        """Take a row in, or refuse it and with it the whole block."""
        if not row.problems:
            self._read(row)
        if row.problems:
            self.good = False
            self._refuse(row.line, "; ".join(row.problems))

    def _read(self, row: Row) -> None:
        row.read(self.name_column, name, "")
        if row.line == self.line:
            if any(row.text(column) for column in self.head_columns):
                self._read_head(row)
            else:
                row.problems.append(self._homeless())
        line = self._read_line(row)
        if self.good and len(self._lines) == self.max_lines:
            row.problems.append(f"{self.noun} must not have more than {self.max_lines:,} lines")
        elif self.good and not row.problems:
            self._lines.append(line)

    def _homeless(self) -> str:
        shown = self.id if cells.ORDER_ID.fullmatch(self.id) else "of this name"
        kind = self.noun.split()[-1]
        return f"{kind} {shown} appears twice or lacks its first row: the rows of {self.noun} must stand together"


def gather(rows: Iterable[Row], begin: Callable[[Row], BlockT]) -> Iterator[BlockT]:
    """Gather rows into closed blocks, in the order of the file; one block at a time is in memory."""
    block: BlockT | None = None
    for row in rows:
        if block is None or not block.goes_on(row):
            if block is not None:
                block.close()
                yield block
            block = begin(row)
        block.add(row)
    if block is not None:
        block.close()
        yield block
