"""Whole exports in today's format: every order is stored as its file says, by import as well as over HTTP."""

from pathlib import Path

import pytest

from commerce import order_intake
from commerce.currencies import decimals_of
from commerce.database import Database
from commerce.imports import ImportReport, import_orders
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import parse_order
from commerce.mail.template_data import load_template_data
from starter.api.order_schema import PlacedOrder
from tests.commerce.imports.admin_export import BACKORDER, KIT, columns_in_use, exported_orders, write_export
from tests.commerce.imports.admin_order import FULFILLMENT, PAYMENT, AdminOrder
from tests.commerce.imports.order_files import EXPORT
from tests.commerce.shop import Shop

ORDERS = """
    SELECT name, email, payment_status, fulfillment_status, cancelled_at, currency, total, shipping_total,
           discount_total, tax_total, taxes_included, duties_total, refunded_total, outstanding_total, shipping_city,
           line.*
    FROM orders, LATERAL (
        SELECT count(*), sum(quantity)::int, sum((quantity + coalesce(refunded_quantity, 0)) * unit_price)::int,
               sum(discount)::int
        FROM order_lines WHERE order_id = orders.id) AS line
    ORDER BY created_at
"""
IDS = "SELECT id FROM orders ORDER BY created_at"
UNLINKED = "SELECT DISTINCT sku FROM order_lines WHERE variant_id IS NULL ORDER BY sku"
CONTENT = """
    SELECT md5(string_agg(row::text, '' ORDER BY row::text)) FROM (
        SELECT orders::text AS row FROM orders UNION ALL SELECT order_lines::text FROM order_lines
        UNION ALL SELECT outbox_events::text FROM outbox_events UNION ALL SELECT customers::text FROM customers) AS rows
"""


def test_the_generated_export_has_every_column_status_and_kind_of_currency() -> None:
    orders = exported_orders(300, seed=1)
    assert columns_in_use(orders) == set(EXPORT)
    assert {(order.payment, order.fulfillment) for order in orders} == {(p, f) for p in PAYMENT for f in FULFILLMENT}
    assert {decimals_of(order.currency) for order in orders} == {0, 2, 3}
    assert any(order.taxes and order.taxes_included for order in orders)
    assert any(order.taxes and not order.taxes_included for order in orders)
    assert [order.rows() for order in orders] == [order.rows() for order in exported_orders(300, seed=1)]


@pytest.mark.parametrize("seed", range(3))
async def test_every_order_of_an_export_is_stored_as_its_file_says(
    database: Database, tmp_path: Path, seed: int
) -> None:
    shop, orders = Shop(database), exported_orders(200, seed)
    await create_variants(shop)
    file = write_export(tmp_path / "orders.csv", orders)
    rows = sum(len(order.lines) for order in orders)
    report = await import_orders(database, [file], currency="GBP")
    notes = report.notes  # of orders without a shipping method
    assert report == ImportReport(read=rows, taken=len(orders), notes=notes)
    assert await shop.sql(ORDERS) == [tuple(order.stored().values()) for order in orders]
    assert await shop.sql(UNLINKED) == ["", "UNKNOWN-1"]

    content = await shop.sql(CONTENT)
    assert await import_orders(database, [file], currency="GBP") == ImportReport(
        read=rows, unchanged=len(orders), notes=notes
    )
    assert await shop.sql(CONTENT) == content


async def create_variants(shop: Shop) -> None:
    """Create the products of the export: a kit, one that can be ordered beyond the stock, and simple ones."""
    for sku in ("MUG-RED-L", "POSTER-50X70", "FRAME-12", "0042"):
        await shop.stock(sku, main=9)
    await shop.variant(KIT, items={"MUG-RED-L": 1, "POSTER-50X70": 2})
    await shop.stock(BACKORDER, backorder=True, main=0)


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


def over_http(order_id: str, order: AdminOrder) -> NewOrder:
    """Return the order as the API reads it when all columns are sent in snake_case."""
    rows = order.rows()
    lines = [
        {snake_case(column): value for column, value in row.items() if column.startswith("Lineitem")}
        | {"vendor": row["Vendor"]}
        for row in rows
    ]
    head = {
        snake_case(column): value or None
        for column, value in rows[0].items()
        if not column.startswith("Lineitem") and column not in ("Vendor", "Id")
    }
    body = PlacedOrder.model_validate(head | {"lines": lines})
    parsed = parse_order(body.head(order_id), body.parser_lines(), currency="GBP")
    assert isinstance(parsed, NewOrder)
    return parsed


def snake_case(column: str) -> str:
    return column.lower().replace(" ", "_")
