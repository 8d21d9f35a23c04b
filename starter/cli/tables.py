"""Tables that can be read at any width: on a narrow terminal less important columns are left out, in a pipe nothing is.

In a pipe or a file, rows are complete lines, however long, and times are written out.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from commerce.plain_text import escape_controls
from starter.cli.shared import out, print_line

GAP = "  "
MIN_FLEXIBLE = 12  # cells
CUT = "…"
GOOD, BAD, WAITS, DIM = "green", "red", "yellow", "dim"
STYLES = {
    **dict.fromkeys(("fulfilled", "completed", "sent", "done", "delivered"), GOOD),
    **dict.fromkeys(("on_hold", "failed", "terminated", "timed_out", "stuck", "oversold"), BAD),
    **dict.fromkeys(("waiting_for_stock", "waiting", "queued", "sending", "running", "open", "cancelling"), WAITS),
    **dict.fromkeys(("cancelled", "fulfilled_elsewhere", "unpaid", "other"), DIM),
}
UNITS = ((timedelta(days=1), "day"), (timedelta(hours=1), "hour"), (timedelta(minutes=1), "minute"))


class Column(NamedTuple):
    """A column of a table.

    `optional`: 0 is always shown; of the others, that with the highest number is left out first. A `flexible` column is
    cut on a narrow terminal; if it is to be read as a `whole`, it may go on in the next line instead, as the last one.
    `styled`: its words have colours.
    """

    name: str
    optional: int = 0
    flexible: bool = False
    whole: bool = False
    right: bool = False
    styled: bool = False


def print_table(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
    """Print rows of texts under their columns, as wide as the terminal; in a pipe as wide as they are."""
    lines = table_lines(columns, rows, width=out.width - len(indent) if out.is_terminal else None)
    for line in lines:
        out.print(Text(indent) + line, soft_wrap=True)


def table_lines(columns: Sequence[Column], rows: Sequence[Sequence[str]], *, width: int | None) -> list[Text]:
    """Return the header and one line per row, of at most `width` cells if that is possible; None: no limit.

    A column that is empty in all rows is left out.
    """
    cells = [[escape_controls(cell) for cell in row] for row in rows]
    shown = [i for i, column in enumerate(columns) if column.optional == 0 or any(row[i] for row in cells)]
    widths = {i: max(map(cell_len, (columns[i].name, *(row[i] for row in cells)))) for i in shown}
    if width is not None:
        _fit(columns, widths, width)
    lines = [Text(style=DIM), *(Text() for _ in cells)]
    last = max(widths)
    for i, size in widths.items():
        for line, cell in zip(lines, [columns[i].name, *(row[i] for row in cells)], strict=True):
            style = _style(cell) if columns[i].styled else ""
            text = cell if columns[i].whole else _cell(cell, size, right=columns[i].right, last=i == last)
            line.append(text, style)
            if i != last:
                line.append(GAP)
    for line in lines:
        line.rstrip()
    return lines


def time_text(moment: datetime | None, zone: ZoneInfo, *, now: datetime | None = None) -> str:
    """Return how long ago a moment is, on a terminal; elsewhere the moment in the shop's time zone."""
    if moment is None:
        return ""
    if not out.is_terminal:
        return exact_time_text(moment, zone)
    return relative_time(moment, now or datetime.now(UTC))


def exact_time_text(moment: datetime, zone: ZoneInfo) -> str:
    """Return a moment in the shop's time zone: where several follow one another within seconds."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M:%S}"


def moment_text(moment: datetime | None, zone: ZoneInfo, *, now: datetime | None = None) -> str:
    """Return a moment in the shop's time zone, on a terminal also how long ago it is: for a single record."""
    if moment is None:
        return ""
    written = exact_time_text(moment, zone)
    return f"{written} ({relative_time(moment, now or datetime.now(UTC))})" if out.is_terminal else written


def relative_time(moment: datetime, now: datetime) -> str:
    """Return how far a moment is from now: `3 minutes ago`, `in 2 days`, `now`."""
    distance = abs(now - moment)
    for unit, name in UNITS:
        if distance >= unit:
            number = distance // unit
            text = f"{number:,} {name}{'' if number == 1 else 's'}"
            return f"{text} ago" if moment < now else f"in {text}"
    return "now"


def print_fact(label: str, value: str | None, *, width: int = 12) -> None:
    """Print a labelled value on a line, if there is one."""
    if value:
        print_line(f"{label:<{width}}{GAP}{escape_controls(value)}")


def _fit(columns: Sequence[Column], widths: dict[int, int], width: int) -> None:
    """Leave out columns, and make flexible ones narrower, until the table fits or nothing is left to leave out."""
    while (excess := sum(widths.values()) + len(GAP) * (len(widths) - 1) - width) > 0:
        flexible = [i for i in widths if columns[i].flexible and widths[i] > MIN_FLEXIBLE]
        if sum(widths[i] - MIN_FLEXIBLE for i in flexible) >= excess:
            widest = max(flexible, key=lambda i: widths[i])
            widths[widest] -= 1
            continue
        least = max(widths, key=lambda i: columns[i].optional)
        if columns[least].optional == 0:
            for i in flexible:
                widths[i] = MIN_FLEXIBLE
            return
        del widths[least]


def _cell(text: str, size: int, *, right: bool, last: bool) -> str:
    if cell_len(text) > size:
        return set_cell_size(text, size - 1).rstrip() + CUT
    if right:
        return " " * (size - cell_len(text)) + text
    return text if last else text + " " * (size - cell_len(text))


def _style(cell: str) -> str:
    return STYLES.get(cell.partition(",")[0].replace(" ", "_"), "")
