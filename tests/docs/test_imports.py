"""docs/imports.md names every column of an order export, as the code treats it, and only messages that exist."""

import re

import pytest

from commerce.imports.order_rows import HEAD_COLUMNS, IGNORED_COLUMNS, LINE_COLUMNS, REQUIRED_COLUMNS
from commerce.imports.order_statuses import FULFILLMENT_STATUSES, LINE_STATUSES, PAYMENT_STATUSES
from tests.commerce.imports.order_files import EXPORT
from tests.paths import ROOT

PAGE = (ROOT / "docs" / "imports.md").read_text()
CODE = "\n".join(file.read_text() for file in sorted((ROOT / "commerce" / "imports").glob("*.py")))
CELL = re.compile(r"`([^`]+)`")


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table rows below a heading."""
    part = PAGE.partition(f"\n{heading}\n")[2]
    part = re.split(r"\n##+ ", part)[0]
    lines = [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("| ")]
    return [cells for cells in lines if "`" in cells[0] and cells[0] != "---"]


def named(heading: str) -> list[str]:
    """Return the columns that the first cells of a table name."""
    return [name for cells in rows(heading) for name in CELL.findall(cells[0])]


def test_the_page_has_every_column_once_where_it_belongs() -> None:
    read = {*HEAD_COLUMNS.values(), *LINE_COLUMNS.values()}
    assert sorted([*named("### Used"), *named("### Kept")]) == sorted(read)
    assert sorted(named("### Ignored on purpose")) == sorted(IGNORED_COLUMNS)
    assert {*read, *IGNORED_COLUMNS} - set(EXPORT) == {"Lineitem refunded quantity"}


def test_the_page_says_which_columns_are_required() -> None:
    required = {CELL.findall(cells[0])[0] for cells in rows("### Used") if "required" in "".join(cells[1:])}
    assert required == set(REQUIRED_COLUMNS)


def test_the_page_explains_every_status() -> None:
    statuses = PAGE.partition("\n## Statuses\n")[2].partition("\n## ")[0]
    words = set(CELL.findall(statuses))
    for values in (PAYMENT_STATUSES, FULFILLMENT_STATUSES, LINE_STATUSES):
        assert set(filter(None, values)) <= words
    assert {*PAYMENT_STATUSES.values(), *FULFILLMENT_STATUSES.values()} <= words


@pytest.mark.parametrize("message", named("## Messages"))
def test_every_message_on_the_page_exists(message: str) -> None:
    code = CODE.replace("{minimum}", "0").replace("{max_length:,}", "1,000")
    without_breaks = re.sub(r'"\s*\n\s*f?"', "", code)
    assert message in without_breaks
