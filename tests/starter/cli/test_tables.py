"""Tables fit the terminal, and are complete in a pipe."""

from datetime import timedelta

import pytest
from rich.cells import cell_len

from starter.cli import customers, mails, orders, runs, schedules, stock, webhooks
from starter.cli.tables import Column, relative_time, table_lines
from tests.commerce.shop import NOON

COLUMNS = (
    Column("id"),
    Column("status", styled=True),
    Column("title", flexible=True),
    Column("country", 2),
    Column("empty", 3),
    Column("total", 1, right=True),
)
ROWS = [
    ("1001", "on hold", "A very long title that goes on and on and on and on", "GB", "", "£9.00"),
    ("etsy~1002", "open", "白いマグカップと長い長い長い長い長い題名", "", "", "£1,000.00"),
    ("1003", "", "line\nbreak \x1b[31m", "GB", "", ""),
]


def lines(width: int | None) -> list[str]:
    return [line.plain for line in table_lines(COLUMNS, ROWS, width=width)]


def test_a_pipe_gets_everything_and_no_empty_column() -> None:
    header, first, *_, last = lines(None)
    assert header.split() == ["id", "status", "title", "country", "total"]
    assert first.endswith("GB           £9.00") and ROWS[0][2] in first
    assert r"line\nbreak \x1b[31m" in last


@pytest.mark.parametrize(
    ("width", "left_out"), [(80, set()), (60, set()), (45, {"country"}), (36, {"country", "total"})]
)
def test_a_terminal_gets_what_fits(width: int, left_out: set[str]) -> None:
    shown = lines(width)
    assert all(cell_len(line) <= width for line in shown)
    assert {"id", "status", "title", "country", "total"} - set(shown[0].split()) == left_out
    assert all(row[0] in line for row, line in zip(ROWS, shown[1:], strict=True))  # ids are never cut


def test_a_text_that_is_read_as_a_whole_goes_on_in_the_next_line() -> None:
    columns = (Column("id"), Column("what is wrong", flexible=True, whole=True))
    [_, line] = table_lines(columns, [("1001", "x" * 90)], width=60)
    assert line.plain == f"1001  {'x' * 90}"


def test_a_narrower_terminal_than_any_table_still_gets_the_ids() -> None:
    assert all(row[0] in line for row, line in zip(ROWS, lines(10)[1:], strict=True))


@pytest.mark.parametrize(
    ("distance", "text"),
    [
        (timedelta(seconds=-59), "now"),
        (timedelta(minutes=-1), "1 minute ago"),
        (timedelta(hours=-47), "1 day ago"),
        (timedelta(days=-1500), "1,500 days ago"),
        (timedelta(hours=3), "in 3 hours"),
    ],
)
def test_times_are_relative_to_now(distance: timedelta, text: str) -> None:
    assert relative_time(NOON + distance, NOON) == text


LISTS = {
    "customers": (customers.LISTED, "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"),
    "deliveries": (webhooks.DELIVERIES, "0199a1b2-6f4e-7c3d-9a10-5b7e2f0c4d11"),
    "mails": (mails.LISTED, "order-shipped/450789469"),
    "orders": (orders.LISTED, "shopify~450789469"),
    "runs": (runs.LISTED, "order-processing-450789469"),
    "schedules": (schedules.LISTED, "process-pending-orders"),
    "stock": (stock.LEVELS, "PENCIL-ROLL-OLIVE"),
}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", LISTS)
def test_every_list_fits_the_usual_terminals(name: str, width: int) -> None:
    columns, longest_id = LISTS[name]
    texts = {True: "1,234", False: "12 minutes ago"}
    row = [longest_id, *("x" * 50 if column.flexible else texts[column.right] for column in columns[1:])]
    shown = [line.plain for line in table_lines(columns, [row], width=width)]
    assert all(cell_len(line) <= width for line in shown)
    assert shown[1].startswith(longest_id)
    assert width < 120 or len(shown[0].split()) >= 4
