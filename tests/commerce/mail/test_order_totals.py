"""The amounts in an order's mail always add up to its total."""

from typing import Any

import pytest

from commerce.database import Database
from commerce.mail.order_totals import included_tax, total_rows
from commerce.mail.render import MailTemplates
from commerce.mail.template_data import load_template_data
from tests.commerce.shop import PRICE, Shop

NOTHING: dict[str, Any] = {
    "total": 2000, "discount_total": 0, "discount_code": None, "shipping_total": 0, "tax_total": 0,
    "taxes_included": None, "duties_total": 0, "tip_total": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        ({}, []),
        ({"total": 2400, "shipping_total": 400}, [("Subtotal", 2000), ("Shipping", 400)]),
        ({"total": 1500, "discount_total": 500}, [("Subtotal", 2000), ("Discount", -500)]),
        (
            {"total": 1900, "discount_total": 500, "discount_code": "TEN", "shipping_total": 400},
            [("Subtotal", 2000), ("Discount (TEN)", -500), ("Shipping", 400)],
        ),
        ({"tax_total": 333, "taxes_included": True}, []),
        ({"total": 2400, "tax_total": 400, "taxes_included": False}, [("Subtotal", 2000), ("Tax", 400)]),
        (
            {"total": 2300, "duties_total": 200, "tip_total": 100},
            [("Subtotal", 2000), ("Duties", 200), ("Tip", 100)],
        ),
        ({"total": 1500}, [("Subtotal", 2000), ("Adjustment", -500)]),
        ({"total": 2500, "shipping_total": 400}, [("Subtotal", 2000), ("Shipping", 400), ("Adjustment", 100)]),
    ],
)
def test_the_rows_add_up_to_the_total(order: dict[str, Any], rows: list[tuple[str, int]]) -> None:
    found = total_rows(NOTHING | order, 2000)
    assert found == rows
    assert not rows or sum(row.amount for row in found) == (NOTHING | order)["total"]


def test_taxes_in_the_prices_are_named_but_not_added() -> None:
    assert included_tax(NOTHING | {"tax_total": 333, "taxes_included": True}) == 333
    assert included_tax(NOTHING | {"tax_total": 333, "taxes_included": False}) == 0


async def test_the_mail_shows_the_number_and_the_amounts(database: Database) -> None:
    shop = Shop(database)
    columns = {
        "name": "#1001", "total": 2 * PRICE + 150, "discount_total": 250, "discount_code": "TEN",
        "shipping_total": 400, "tax_total": 42, "taxes_included": True,
    }  # fmt: skip
    await shop.order("5551", MUG=2, columns=columns)
    async with database.transaction() as tx:
        data = await load_template_data(tx, "order-shipped", "5551", {})
    mail = MailTemplates("en_GB").render("order-shipped", data | {"shop": "Shop", "key": "k"})
    assert mail.subject == "Your order #1001 is fulfilled"  # it has no label
    assert "Discount (TEN): -£2.50\nShipping: £4.00\n" in mail.text
    assert "(including £0.42 tax)" in mail.text and "including £0.42 tax" in mail.html
    assert "-£2.50" in mail.html
