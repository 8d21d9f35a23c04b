"""Group the rows of one order or cart: they are consecutive, and only the first has the fields of the order itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

from commerce.imports.csv_rows import Row
from commerce.imports.parsers import ORDER_ID, SHORT_TEXT, required, text

LineT = TypeVar("LineT")
GroupT = TypeVar("GroupT", bound="RowGroup[Any]")

ReportBadRow = Callable[[int, str], None]  # line, reason

required_text = required(text(SHORT_TEXT))


class RowGroup(ABC, Generic[LineT]):
    """The rows of one order or cart, added one by one. One bad row makes the whole group bad."""

    noun: ClassVar[str]  # "order"
    name_column: str  # filled on every row
    head_columns: ClassVar[tuple[str, ...]]  # at least one of them is filled on a first row
    max_lines: ClassVar[int]

    def __init__(self, first: Row, item_id: str, report_bad_row: ReportBadRow) -> None:
        """Start a group at its first row, which must still be added; `item_id` is that of the order or cart."""
        self.line, self.id, self.good = first.line, item_id, True
        self._first, self._report_bad_row = first, report_bad_row
        self._lines: list[LineT] = []

    @abstractmethod
    def continues_with(self, row: Row) -> bool:
        """Return whether a row belongs to this group; one without a name does, so that it makes the group bad."""

    @abstractmethod
    def finish(self) -> None:
        """Build the order or cart if all rows were good, and release the lines."""

    @abstractmethod
    def _parse_head(self, row: Row) -> None:
        """Parse the fields of the order or cart itself; add problems to the row."""

    @abstractmethod
    def _parse_line(self, row: Row) -> LineT | None:
        """Parse the fields of a line; add problems to the row, in which case the result is ignored."""

    def add(self, row: Row) -> None:
        """Parse a row; if it is bad, report it and mark the group as bad."""
        if not row.problems:
            self._parse(row)
        if row.problems:
            self._reject(row)

    def _reject(self, row: Row) -> None:
        self.good = False
        self._report_bad_row(row.line, row.reason())

    def _parse(self, row: Row) -> None:
        row.parse(self.name_column, required_text)
        if row is self._first:
            if any(row.text(column) for column in self.head_columns):
                self._parse_head(row)
            else:
                row.add_problem(None, self._first_row_missing())
        line = self._parse_line(row)
        if self.good and len(self._lines) == self.max_lines:
            row.add_problem(None, f"the {self.noun} has more than {self.max_lines:,} lines")
        elif self.good and line is not None and not row.problems:
            self._lines.append(line)

    def _first_row_missing(self) -> str:
        shown_id = self.id if ORDER_ID.fullmatch(self.id) else "of this name"
        return (
            f"{self.noun} {shown_id} appears twice or lacks its first row: "
            f"all rows of one {self.noun} must be consecutive"
        )


def group_rows(rows: Iterable[Row], start_group: Callable[[Row], GroupT]) -> Iterator[GroupT]:
    """Yield finished groups in the order of the file; one group at a time is in memory."""
    group: GroupT | None = None
    for row in rows:
        if group is None or not group.continues_with(row):
            if group is not None:
                group.finish()
                yield group
            group = start_group(row)
        group.add(row)
    if group is not None:
        group.finish()
        yield group
