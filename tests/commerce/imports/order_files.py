"""Write made-up order exports for tests."""

import csv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from commerce.database import Database
from commerce.imports import ImportReport, import_orders
from commerce.imports.order_rows import COLUMNS

Import = Callable[..., Awaitable[ImportReport]]  # the fixture `load`

HEADER = [*COLUMNS.required, *COLUMNS.optional]
# The columns of a shop admin's export today, in its order.
EXPORT = """
Name,Email,Financial Status,Paid at,Fulfillment Status,Fulfilled at,Accepts Marketing,Currency,Subtotal,Shipping,
Taxes,Total,Discount Code,Discount Amount,Shipping Method,Created at,Lineitem quantity,Lineitem name,Lineitem price,
Lineitem compare at price,Lineitem sku,Lineitem requires shipping,Lineitem taxable,Lineitem fulfillment status,
Billing Name,Billing Street,Billing Address1,Billing Address2,Billing Company,Billing City,Billing Zip,
Billing Province,Billing Country,Billing Phone,Shipping Name,Shipping Street,Shipping Address1,Shipping Address2,
Shipping Company,Shipping City,Shipping Zip,Shipping Province,Shipping Country,Shipping Phone,Notes,Note Attributes,
Cancelled at,Payment Method,Payment Reference,Refunded Amount,Vendor,Outstanding Balance,Employee,Location,Device ID,
Id,Tags,Risk Level,Source,Lineitem discount,Tax 1 Name,Tax 1 Value,Tax 2 Name,Tax 2 Value,Tax 3 Name,Tax 3 Value,
Tax 4 Name,Tax 4 Value,Tax 5 Name,Tax 5 Value,Phone,Receipt Number,Duties,Billing Province Name,
Shipping Province Name,Payment ID,Payment Terms Name,Next Payment Due At,Payment References
""".replace("\n", "").split(",")
ORDER = {
    "Name": "#1001",
    "Email": "ann@shop.example",
    "Financial Status": "paid",
    "Currency": "GBP",
    "Shipping": "4.00",
    "Shipping Method": "Postage",
    "Created at": "2026-03-02 12:00:00 +0000",
    "Lineitem quantity": "2",
    "Lineitem name": "Mug",
    "Lineitem price": "12.50",
    "Lineitem sku": "MUG",
    "Lineitem requires shipping": "true",
    "Shipping Country": "GB",
    "Id": "5551",
}


def first(**changes: str) -> dict[str, str]:
    """Return an order's first row; keywords are columns, with underscores for blanks."""
    return ORDER | columns(changes)


def further(name: str = "#1001", **changes: str) -> dict[str, str]:
    """Return a row with another line of an order."""
    line = {column: value for column, value in ORDER.items() if column.startswith("Lineitem")}
    return line | {"Name": name} | columns(changes)


def columns(changes: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): value for name, value in changes.items()}


def write_file(file: Path, *rows: dict[str, str], header: list[str] = HEADER, **dialect: Any) -> Path:
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, header, restval="", **dialect)
        writer.writeheader()
        writer.writerows(rows)
    return file


async def import_rows(
    database: Database, folder: Path, *rows: dict[str, str], skip_bad: bool = False, source: str = "shop"
) -> ImportReport:
    """Write the rows into a file and import it."""
    file = write_file(folder / "orders.csv", *rows)
    return await import_orders(database, [file], skip_bad=skip_bad, currency="GBP", source=source)
