"""docs/import-inventory.md agrees with the code: columns, messages, exports."""

import re

from commerce.fulfillment_export import COLUMNS as EXPORTS
from commerce.fulfillment_export import MAX_PAGE
from commerce.imports import inventory, inventory_rows, stock_counts
from starter.api.exports import NEXT
from tests.documents import prose, tables
from tests.paths import ROOT

PAGE = ROOT / "docs" / "import-inventory.md"
CODE = re.compile(r"`([^`]+)`")
QUOTED = re.compile(r"'((?:[^']|'')*)'")
TABLES = {rows[0][0]: rows[1:] for rows in tables(PAGE)}


def test_every_column_is_described() -> None:
    described = [name for cell, _ in TABLES["column"] for name in CODE.findall(cell)]
    assert sorted(described) == sorted(inventory_rows.KNOWN)
    ignored = TABLES["column"][-1]
    assert (CODE.findall(ignored[0]), ignored[1]) == (list(inventory_rows.IGNORED), "Ignored.")


def test_every_message_is_explained() -> None:
    explained = [CODE.findall(cell)[0] for cell, _ in TABLES["message"]]
    statements = " ".join(
        str(statement).replace("' || last.line || '", "…")
        for statement in (
            *(inventory.FILL_SKU, inventory.FIND_BAD, inventory.FIND_SUPERSEDED),
            *(stock_counts.FIND_COUNTS, stock_counts.WARN_OF_NEGATIVES),
        )
    )
    messages = [text for text in QUOTED.findall(statements) if " " in text]
    messages += [inventory_rows.NO_PRODUCT, inventory_rows.NO_COUNT, inventory_rows.NO_NAME, inventory_rows.NO_UNITS]
    assert sorted(explained) == sorted(messages)


def test_the_exports_have_these_columns() -> None:
    described = {CODE.findall(row[0])[0]: CODE.findall(row[1]) for row in TABLES["`--format`"]}
    assert described == {name: list(columns) for name, columns in EXPORTS.items()}
    assert f"at most {MAX_PAGE:,} fulfillments" in " ".join(prose(PAGE).split()) and NEXT in PAGE.read_text()
