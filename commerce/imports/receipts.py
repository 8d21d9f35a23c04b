"""Read from a CSV file what came back: one row per return and SKU (R3)."""

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from commerce.errors import UnreadableFile
from commerce.imports.text_files import READ_ERRORS, damaged, open_text, undecodable
from commerce.messages.base import field_errors
from commerce.messages.returns import ReceivedItem, ReturnReceipt, line_named

REQUIRED = ("return", "sku", "quantity")
SEPARATORS = ",;\t"
MAX_ROWS = 100_000


class Receipts(NamedTuple):
    """What came back, by the id or the tracking number of the return; and the rows that are wrong, as text."""

    by_return: Mapping[str, ReturnReceipt]
    problems: list[str]


def read_receipts(path: Path) -> Receipts:
    """Read a file with the columns Return, SKU, Quantity and, optionally, Sellable (default: all of the quantity).

    A SKU like `#1` is the position of a line, for those that have none.

    A return with a wrong row is left out as a whole. Raises UnreadableFile.
    """
    items: dict[str, list[ReceivedItem]] = {}
    wrong: set[str] = set()
    problems: list[str] = []
    for number, row in _rows(path):
        reference = row["return"]
        try:
            if not reference:
                raise ValueError("Return: must not be empty")
            sellable = row.get("sellable") or None
            item = ReceivedItem.model_validate(
                line_named(row["sku"]) | {"quantity": row["quantity"], "sellable": sellable}
            )
            items.setdefault(reference, []).append(item)
        except ValidationError as error:
            wrong.add(reference)
            text = "; ".join(f"{each.field.capitalize()}: {each.message}" for each in field_errors(error))
            problems.append(f"line {number}: {text}")
        except ValueError as error:
            problems.append(f"line {number}: {error}")
    receipts = {}
    for reference, found in items.items():
        if reference in wrong:
            continue
        try:
            receipts[reference] = ReturnReceipt(items=found)
        except ValidationError:
            problems.append(f"return {reference}: has too many rows")
    return Receipts(receipts, problems)


def _rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows with the number of their line; the names of the columns are in lower case."""
    try:
        with open_text(path) as text:
            header = text.sample.split("\n", 1)[0]
            rows = csv.reader(text.stream, delimiter=max(SEPARATORS, key=header.count))
            names = [name.strip().lower() for name in next(rows, [])]
            if missing := [name for name in REQUIRED if name not in names]:
                raise UnreadableFile(str(path), f"it has no column {', '.join(missing)}")
            for count, cells in enumerate(rows):
                if count >= MAX_ROWS:
                    raise UnreadableFile(str(path), f"it has more than {MAX_ROWS:,} rows")
                if any(cell.strip() for cell in cells):
                    padded = [*(cell.strip() for cell in cells), *[""] * len(names)]
                    yield rows.line_num, dict(zip(names, padded, strict=False))
    except UnicodeDecodeError as error:
        raise undecodable(path, error.encoding) from error
    except csv.Error as error:
        raise UnreadableFile(str(path), f"it is damaged ({error})") from None
    except READ_ERRORS as error:
        raise damaged(path, error) from error
