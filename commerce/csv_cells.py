"""Cells of CSV files that are opened with spreadsheets."""

import re

FORMULA = re.compile(r"[\t\r\n]|\s*[=+\-@＝＋－＠]")  # how a cell starts that a spreadsheet might execute


def safe_cell(cell: str) -> str:
    """Return a cell that no spreadsheet takes for a formula: with an apostrophe before it, as shop admins write it."""
    return f"'{cell}" if FORMULA.match(cell) else cell
