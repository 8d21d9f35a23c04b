"""Read order files without a database, as the tests of reading do."""

from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from commerce.imports.csv_rows import open_rows
from commerce.imports.input_file import InputFile, Reading
from commerce.imports.new_order import NewOrder
from commerce.imports.order_rows import COLUMNS, read_orders

BERLIN = ZoneInfo("Europe/Berlin")
HEADER = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Shipping,Total,Shipping Method,Created at,"
    "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Lineitem requires shipping,Shipping Name,"
    "Shipping Country,Id"
)
CELLS = {
    "Name": "#1",
    "Email": "ann@customer.example",
    "Financial Status": "paid",
    "Currency": "GBP",
    "Created at": "2026-11-20 12:00:00 +0000",
    "Lineitem quantity": "1",
    "Lineitem name": "Mug",
    "Lineitem price": "10.00",
    "Lineitem sku": "MUG",
}


class Read(NamedTuple):
    """What was read of a file."""

    orders: list[NewOrder]
    bad: list[tuple[int, str]]  # line, reason
    notes: list[str]

    @property
    def order(self) -> NewOrder:
        """The only order of a file without bad rows."""
        (order,), bad, _ = self
        assert bad == []
        return order


def read(path: Path, **reading: Any) -> Read:
    """Read a file of orders; the keywords are fields of Reading."""
    file, bad = InputFile.of(path, Reading(**{"timezone": BERLIN} | reading)), list[tuple[int, str]]()
    with open_rows(file, COLUMNS) as rows:
        orders = list(read_orders(rows, "GBP", lambda line, reason: bad.append((line, reason))))
    return Read([order.order for order in orders if order.order], bad, file.notes)


def text(*orders: dict[str, str], separator: str = ",", header: str = HEADER) -> str:
    """Return a file in which each dict changes the cells of one order."""
    names = header.split(",")
    lines = [names, *([(CELLS | order).get(name, "") for name in names] for order in orders)]
    return "".join(separator.join(_quoted(cell, separator) for cell in line) + "\n" for line in lines)


def _quoted(cell: str, separator: str) -> str:
    return f'"{cell}"' if separator in cell else cell
