"""Orders and stock of a plan as other systems send them: as an order over HTTP, or in files."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from pathlib import Path

from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.imports.order_rows import HEAD_COLUMNS, LINE_COLUMNS
from tests.system.chaos.plan import WITHOUT_SHIPPING, PlannedOrder

CURRENCY = "GBP"
FIRST_ORDER = datetime(2026, 3, 2, 12, tzinfo=UTC)


def new_order(order: PlannedOrder) -> NewOrder:
    """Return the order as it is stored when it comes in over HTTP."""
    parsed = parse_order(_head(order), _lines(order), currency=CURRENCY)
    assert isinstance(parsed, NewOrder), parsed
    return parsed


def write_orders(file: Path, orders: Iterable[PlannedOrder]) -> None:
    """Write an order export: one row per line, the order's own fields on its first row."""
    names = [field.name for field in fields(OrderHead) if field.name in HEAD_COLUMNS]
    rows = []
    for order in orders:
        head = {HEAD_COLUMNS[name]: getattr(_head(order), name) or "" for name in names} | {"Name": order.id}
        for number, line in enumerate(_lines(order)):
            row = dict.fromkeys(head, "") | {"Name": order.id} if number else head
            rows.append(
                row
                | {LINE_COLUMNS[name]: "" if value is None else str(value) for name, value in line._asdict().items()}
            )
    _write(file, rows)


def write_inventory(
    file: Path, sku: str, location: str, on_hand: int | None, tracked: str = "", policy: str = ""
) -> None:
    """Write an inventory export of one row; None and empty text leave the fields as they are."""
    row = {
        "Handle": sku,
        "Title": sku.title(),
        "SKU": sku,
        "Location": location,
        "Available": "",
        "On hand": "" if on_hand is None else str(on_hand),
        "Tracked": tracked,
        "Policy": policy,
    }
    _write(file, [row])


def _head(order: PlannedOrder) -> OrderHead:
    return OrderHead(
        id=order.id,
        financial_status="paid" if order.paid else "pending",
        created_at=(FIRST_ORDER + timedelta(seconds=int(order.id.rpartition("-")[2]))).isoformat(),
        email=order.email,
        currency=CURRENCY,
        shipping_method="Standard" if order.ships else None,
        shipping_name="Ann Lee",
        shipping_address1="1 High Street",
        shipping_city="London",
        shipping_zip=order.zip,
        shipping_country="GB",
    )


def _lines(order: PlannedOrder) -> list[OrderLine]:
    return [
        OrderLine(sku, sku.title(), quantity, "2.50", "false" if sku in WITHOUT_SHIPPING else "true")
        for sku, quantity in order.lines.items()
    ]


def _write(file: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
