"""Whole exports in today's format: every order is stored as its file says, by import as well as over HTTP."""

from pathlib import Path
from typing import Any

import pytest

from commerce import order_intake
from commerce.database import Database
from commerce.imports import ImportReport, import_orders
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import parse_order
from commerce.mail.template_data import load_template_data
from starter.api.order_schema import PlacedOrder
from tests.commerce.imports.admin_export import ExportedOrder, exported_orders, write_export
from tests.commerce.shop import Shop

ORDERS = """
    SELECT name, payment_status, fulfillment_status, currency, total, discount_total, tax_total, taxes_included,
           refunded_total, (SELECT sum(quantity)::int FROM order_lines WHERE order_id = orders.id) AS units,
           (SELECT sum(quantity * unit_price)::int FROM order_lines WHERE order_id = orders.id) AS goods
    FROM orders ORDER BY created_at
"""
IDS = "SELECT id FROM orders ORDER BY created_at"


def expected(order: ExportedOrder) -> tuple[Any, ...]:
    return tuple(value for name, value in vars(order).items() if name != "rows")


@pytest.mark.parametrize("seed", range(3))
async def test_every_order_of_an_export_is_stored_as_its_file_says(
    database: Database, tmp_path: Path, seed: int
) -> None:
    shop, orders = Shop(database), exported_orders(200, seed)
    file = write_export(tmp_path / "orders.csv", orders)
    rows = sum(len(order.rows) for order in orders)
    report = await import_orders(database, [file], currency="GBP")
    notes = report.notes  # of orders without a shipping method
    assert report == ImportReport(read=rows, taken=len(orders), notes=notes)
    assert await shop.sql(ORDERS) == [expected(order) for order in orders]
    assert await import_orders(database, [file], currency="GBP") == ImportReport(
        read=rows, unchanged=len(orders), notes=notes
    )


async def test_the_mail_of_every_order_adds_up_without_an_adjustment(database: Database, tmp_path: Path) -> None:
    orders = exported_orders(100, seed=7)
    await import_orders(database, [write_export(tmp_path / "orders.csv", orders)], currency="GBP")
    for order_id, order in zip(await Shop(database).sql(IDS), orders, strict=True):
        async with database.transaction() as tx:
            data = await load_template_data(tx, "order-shipped", order_id, {})
        assert data["number"] == order.name
        assert sum(row.amount for row in data["totals"]) in (order.total, 0)
        assert "Adjustment" not in [row.label for row in data["totals"]]


async def test_the_same_order_over_http_is_known(database: Database, tmp_path: Path) -> None:
    orders = exported_orders(100, seed=8)
    await import_orders(database, [write_export(tmp_path / "orders.csv", orders)], currency="GBP")
    for order_id, order in zip(await Shop(database).sql(IDS), orders, strict=True):
        async with database.transaction() as tx:
            stored = await order_intake.store_order(tx, over_http(order_id, order))
        assert (stored.order_id, stored.number, stored.is_new) == (order_id, order.name, False)
        assert stored.difference.changed == []


def over_http(order_id: str, order: ExportedOrder) -> NewOrder:
    """Return the order as the API reads it when all columns are sent in snake_case."""
    lines = [
        {snake_case(column): value for column, value in row.items() if column.startswith("Lineitem")}
        | {"vendor": row["Vendor"]}
        for row in order.rows
    ]
    head = {
        snake_case(column): value or None
        for column, value in order.rows[0].items()
        if not column.startswith("Lineitem") and column not in ("Vendor", "Id")
    }
    body = PlacedOrder.model_validate(head | {"lines": lines})
    parsed = parse_order(body.head(order_id), body.parser_lines(), currency="GBP")
    assert isinstance(parsed, NewOrder)
    return parsed


def snake_case(column: str) -> str:
    return column.lower().replace(" ", "_")
