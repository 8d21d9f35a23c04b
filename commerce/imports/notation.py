"""Turn the numbers and times of a file into the notation of a shop admin's export, where their meaning is clear.

Text that is already in that notation, or that means nothing here, stays: the parsers judge it. Text with two possible
meanings is a problem of its row, unless the rest of the file or an option decides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from operator import itemgetter
from typing import NamedTuple

from commerce.imports import dates, numbers
from commerce.imports.input_file import DateOrder, DecimalMark, Reading
from commerce.imports.parsers import BadValue

Problems = dict[str | None, str]  # by column; None: of the row as a whole

AMOUNTS = frozenset((
    *("Subtotal", "Shipping", "Taxes", "Total", "Discount Amount", "Refunded Amount", "Outstanding Balance", "Duties"),
    *("Tip", "Tip Amount", "Lineitem price", "Lineitem compare at price", "Lineitem discount", "Lineitem total"),
    *("Shipping Discount", "Lineitem tax", *(f"Tax {number} Value" for number in range(1, 6))),
))  # fmt: skip
COUNTS = frozenset((
    *("Lineitem quantity", "Available", "On hand", "On hand (current)", "On hand (new)", "Committed", "Unavailable"),
    *("Incoming", "Quantity"),
))  # fmt: skip
TIMES = frozenset((
    *("Paid at", "Fulfilled at", "Created at", "Cancelled at", "Updated at", "Completed at", "Next Payment Due At"),
    *("Recovered at",),
))  # fmt: skip
CODES = frozenset(("SKU",))  # spreadsheets take long ones for numbers and shorten them
PLAIN = "0123456789. "
SHORTENED = "was shortened by a spreadsheet to a number like 1.23E+12: export it again, and do not open it in one"


class QuickTest(NamedTuple):
    """A row needs no work if its amounts have only characters of PLAIN, its count digits, and no time.

    This is not a function: its callers inline it, since files have hundreds of thousands of rows.
    """

    amounts: Callable[[Sequence[str]], Sequence[str]]
    times: Callable[[Sequence[str]], Sequence[str]]
    count_place: int


class Notation:
    """How one file writes numbers and times."""

    def __init__(self, positions: Mapping[str, int], reading: Reading, file_dates: DateOrder | None) -> None:
        """Prepare for the columns at these positions; `file_dates` is what all files of this kind have."""
        self._amounts = _positions(positions, AMOUNTS)
        self._counts = _positions(positions, COUNTS)
        self._times = _positions(positions, TIMES)
        self._codes = _positions(positions, CODES)
        self._names = {i: name for name, i in positions.items()}
        self._symbols = reading.symbols or "Currency" in positions
        self._zone = reading.timezone
        self._dates, self._decimal = reading.dates or file_dates, reading.decimal
        self._without_offset = False

    def learn(self, rows: Iterable[Sequence[str]]) -> None:
        """Find out from the first rows which decimal mark and which order of dates the file has."""
        marks: set[DecimalMark] = set()
        orders: set[DateOrder] = set()
        for cells in rows:
            marks.update(mark for i in self._amounts if (mark := numbers.mark_of(cells[i])))
            for i in self._times:
                orders.update(filter(None, (dates.order_of(cells[i]),)))
                self._without_offset = self._without_offset or dates.lacks_offset(cells[i])
        if self._decimal is None and len(marks) == 1:
            self._decimal = marks.pop()
        if self._dates is None and len(orders) == 1:
            self._dates = orders.pop()

    def notes(self) -> list[str]:
        """Return what the report says of the notation, one note for each thing that a file may have otherwise."""
        notes = []
        if self._decimal == "comma":
            notes.append("amounts have a decimal comma")
        if self._without_offset and self._zone is not None:
            notes.append(f"times without an offset are those of {self._zone.key}; --timezone names another")
        return notes

    def quick_test(self) -> QuickTest | None:
        """Return how to see at once that a row needs no `apply`; None: any row may need it."""
        if self._decimal == "comma" or len(self._counts) != 1 or not self._amounts or not self._times:
            return None
        return QuickTest(_getter(self._amounts), _getter(self._times), self._counts[0])

    def apply(self, cells: list[str], problems: Problems) -> Problems:
        """Change the cells of a row, and return its problems with those that come up."""
        for positions, change in (
            (self._amounts, self._amount),
            (self._counts, self._count),
            (self._times, self._time),
            (self._codes, _check_code),
        ):
            for i in positions:
                if text := cells[i].strip():
                    try:
                        cells[i] = change(text)
                    except BadValue as problem:
                        problems.setdefault(self._names[i], str(problem))
        return problems

    def _amount(self, text: str) -> str:
        return numbers.plain_amount(text, self._decimal, symbols=self._symbols)

    def _count(self, text: str) -> str:
        return numbers.plain_count(text, self._decimal)

    def _time(self, text: str) -> str:
        return dates.plain_time(text, self._zone, self._dates)


def _check_code(text: str) -> str:
    if numbers.is_shortened(text):
        raise BadValue(SHORTENED)
    return text


def _positions(positions: Mapping[str, int], names: frozenset[str]) -> tuple[int, ...]:
    return tuple(i for name, i in positions.items() if name in names)


def _getter(positions: Sequence[int]) -> Callable[[Sequence[str]], Sequence[str]]:
    if len(positions) == 1:
        return itemgetter(slice(positions[0], positions[0] + 1))
    return itemgetter(*positions)
