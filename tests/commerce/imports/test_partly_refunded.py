"""Partly refunded orders: a person decides, and what is known to be refunded is never shipped (V1, V13)."""

from typing import Any

import pytest

from commerce import approvals, fulfillment, fulfillment_export, inventory, order_intake, orders
from commerce.database import Database
from commerce.errors import HighRisk, OrderHasNoLines, PartlyRefunded
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.intake.platforms import read_order
from commerce.mail.render import MailTemplates
from commerce.mail.template_data import load_template_data
from commerce.messages.base import FieldError
from commerce.messages.orders import Hold, ValidOrder
from tests.commerce.imports.order_files import Import, first, further
from tests.commerce.intake.webhooks import encoded, shopify_line, shopify_order, woo_line, woo_order
from tests.commerce.shop import Shop

HEAD: dict[str, Any] = {
    "id": "1001",
    "email": "ann@customer.example",
    "financial_status": "partially_refunded",
    "refunded_amount": "2.50",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping_method": "Standard",
    "shipping_country": "GB",
}
MUGS, BOX = OrderLine("MUG", "Mug", 3, "2.50", True), OrderLine("BOX", "Box", 1, "1.00", True)
LINES = "SELECT sku, quantity, refunded_quantity FROM order_lines ORDER BY position"


def parsed(*lines: OrderLine, **head: str) -> NewOrder | list[FieldError]:
    return parse_order(OrderHead(**HEAD | head), lines, currency="GBP")


async def put(shop: Shop, *lines: OrderLine, **head: str) -> None:
    order = parsed(*lines, **head)
    assert isinstance(order, NewOrder), order
    await shop.call(order_intake.store_order, order)


async def webhook(shop: Shop, platform: str, body: dict[str, Any]) -> None:
    topic = {"shopify": "orders/updated", "woocommerce": "order.updated"}[platform]
    order = read_order(platform, topic, encoded(body), "shop")
    assert isinstance(order, NewOrder), order
    await shop.call(order_intake.store_order, order)


async def ask(shop: Shop, order_id: str = "1001") -> PartlyRefunded:
    with pytest.raises(PartlyRefunded) as refusal:
        await shop.call(orders.validate, order_id)
    return refusal.value


async def approve(shop: Shop, order_id: str = "1001", reason: str = "PartlyRefunded") -> ValidOrder:
    """Start an order that is on hold, as a person does."""
    await shop.call(orders.hold, Hold(order_id=order_id, reason=f"failed: {reason}"), "run 1")
    await shop.call(approvals.approve, order_id, "run 2")
    await shop.call(orders.clear_hold, order_id)
    return await shop.call(orders.validate, order_id)


@pytest.fixture
async def shop(database: Database) -> Shop:
    shop = Shop(database)
    await shop.stock("MUG", main=10)
    await shop.stock("BOX", main=10)
    return shop


async def test_v13_only_what_is_left_is_shipped(shop: Shop, database: Database) -> None:
    await put(shop, MUGS._replace(refunded_quantity=1), BOX._replace(refunded_quantity=1))
    assert await shop.sql(LINES) == [("MUG", 2, 1), ("BOX", 0, 1)]
    assert str(await ask(shop)) == (
        "Order 1001 is partly refunded: units refunded: 2; started, it ships the 2 units left."
    )
    assert (await approve(shop)).units == 2
    await shop.call(inventory.reserve, "1001")
    await shop.call(fulfillment.create, "1001")
    await shop.call(orders.complete, "1001")
    assert (await shop.levels("MUG"), await shop.levels("BOX")) == ({"main": (8, 0)}, {"main": (10, 0)})
    page = await shop.call(fulfillment_export.load_page, 0)
    assert [row[5] for row in page.rows] == ["2"]
    async with database.transaction() as tx:
        data = await load_template_data(tx, "order-shipped", "1001", {})
    assert [(line["sku"], line["quantity"], line["refunded"]) for line in data["lines"]] == [
        ("MUG", 2, 1),
        ("BOX", 0, 1),
    ]
    mail = MailTemplates("en_GB").render("order-shipped", data | {"shop": "The Shop", "key": "order-shipped/1001"})
    assert "3 x Mug (MUG), 1 refunded: £7.50" in mail.text and "1 x Box (BOX), 1 refunded: £1.00" in mail.text
    assert "Refunded: -£2.50" in mail.text and "Refunded" in mail.html
    assert await shop.breaches() == []


async def test_v13_a_person_is_told_what_to_check_if_the_shop_does_not_say_what_was_refunded(shop: Shop) -> None:
    await put(shop, MUGS, BOX)
    message = str(await ask(shop))
    assert "which units is not known, so compare it with its shop" in message and "it ships 4 units" in message
    assert "refunded_quantity" in message
    await put(shop, MUGS._replace(refunded_quantity=1), BOX)
    assert "at least 1" in str(await ask(shop))
    assert (await approve(shop)).units == 3


async def test_v13_an_order_of_which_nothing_is_left_has_no_lines(shop: Shop) -> None:
    await put(shop, BOX._replace(refunded_quantity=1))
    with pytest.raises(OrderHasNoLines):
        await shop.call(orders.validate, "1001")


async def test_v13_a_source_that_does_not_speak_of_refunds_does_not_take_them_back(shop: Shop) -> None:
    await put(shop, MUGS._replace(refunded_quantity=2))
    await put(shop, MUGS)  # an export: what was ordered
    assert await shop.sql(LINES) == [("MUG", 1, 2)]
    await put(shop, MUGS._replace(refunded_quantity=1))  # no time: it may be older
    assert await shop.sql(LINES) == [("MUG", 1, 2)]
    await put(shop, MUGS._replace(refunded_quantity=1), updated_at="2026-03-03T12:00:00Z")
    assert await shop.sql(LINES) == [("MUG", 2, 1)]
    await put(shop, MUGS._replace(quantity=2), updated_at="2026-03-04T12:00:00Z")  # the order was edited
    assert await shop.sql(LINES) == [("MUG", 1, 1)]
    await put(shop, BOX, updated_at="2026-03-05T12:00:00Z")  # the line was removed
    assert await shop.sql(LINES) == [("MUG", 0, None), ("BOX", 1, None)]


async def test_v13_more_units_than_were_ordered_cannot_be_refunded(shop: Shop) -> None:
    assert parsed(BOX._replace(refunded_quantity=2)) == [
        FieldError(field="lines.0.refunded_quantity", message="must not be more than the quantity")
    ]
    errors = parsed(BOX._replace(refunded_quantity="-1"))
    assert isinstance(errors, list) and errors[0].field == "lines.0.refunded_quantity"


async def test_v13_shopify_says_what_is_left(shop: Shop) -> None:
    transactions = [{"kind": "refund", "status": "success", "amount": "11.25"}]
    body = shopify_order(
        line_items=[shopify_line(id=1, quantity=2, current_quantity=1), shopify_line(sku="BOX", name="Box", id=2)],
        financial_status="partially_refunded",
        refunds=[{"id": 1, "transactions": transactions, "refund_line_items": [{"line_item_id": 1, "quantity": 1}]}],
    )
    await webhook(shop, "shopify", body)
    assert await shop.sql(LINES) == [("MUG", 1, 1), ("BOX", 2, 0)]
    refusal = await ask(shop, body_id := str(body["id"]))
    assert refusal.advice == "units refunded: 1; started, it ships the 3 units left"
    assert (await approve(shop, body_id)).units == 3


async def test_v13_older_versions_of_shopify_only_list_what_was_refunded(shop: Shop) -> None:
    line = shopify_line(id=1, quantity=2)
    del line["current_quantity"]
    transactions = [{"kind": "refund", "status": "success", "amount": "11.25"}]
    refund = {"id": 1, "transactions": transactions, "refund_line_items": [{"line_item_id": 1, "quantity": 1}]}
    await webhook(
        shop, "shopify", shopify_order(line_items=[line], financial_status="partially_refunded", refunds=[refund])
    )
    assert await shop.sql(LINES) == [("MUG", 1, 1)]


async def test_v13_woocommerce_does_not_say_what_was_refunded(shop: Shop) -> None:
    body = woo_order(line_items=[woo_line()], refunds=[{"id": 1, "reason": "", "total": "-5.60"}])
    await webhook(shop, "woocommerce", body)
    assert "not known" in (await ask(shop, str(body["id"]))).advice


async def test_v13_lines_of_an_export_that_were_put_back_in_stock_are_refunded(shop: Shop, load: Import) -> None:
    report = await load(
        first(Financial_Status="partially_refunded", Lineitem_fulfillment_status="restocked", Lineitem_sku="BOX"),
        further(Lineitem_fulfillment_status="pending", Lineitem_sku="MUG", Lineitem_quantity="1"),
    )
    assert report.warnings == []
    assert [row[::2] for row in await shop.sql(LINES)][1] == ("MUG", None)
    assert (await shop.sql("SELECT quantity, refunded_quantity > 0 FROM order_lines WHERE sku = 'BOX'"))[0] == (0, True)
    assert await shop.sql("SELECT fulfillment_status FROM orders") == ["not_fulfilled"]


async def test_v1_what_a_person_was_not_told_is_not_approved(shop: Shop) -> None:
    await put(shop, MUGS, risk_level="high")
    with pytest.raises(HighRisk):
        await shop.call(orders.validate, "1001")
    with pytest.raises(PartlyRefunded):
        await approve(shop, reason="HighRisk")
    assert (await approve(shop)).units == 3
    await put(shop, MUGS, risk_level="high", shipping_city="Leeds")
    with pytest.raises(HighRisk):
        await shop.call(orders.validate, "1001")


async def test_v13_a_paid_order_of_which_a_part_was_paid_back_is_partly_refunded(shop: Shop, load: Import) -> None:
    """As in the files of systems that have one status for all, which a refund of a part does not change."""
    await load(first(Refunded_Amount="5.00"), first(Name="#2", Id="2", Refunded_Amount="29.00", Total="29.00"))
    assert await shop.sql("SELECT payment_status FROM orders ORDER BY id") == ["refunded", "partially_refunded"]


async def test_the_report_counts_open_orders_without_a_method(shop: Shop, load: Import) -> None:
    rows = [first(Name=f"#{n}", Id=str(n), Shipping_Method="", **facts) for n, facts in enumerate(WITHOUT_METHOD, 1)]
    [note] = (await load(*rows)).notes
    assert "1 order with goods to ship but without a Shipping Method" in note
    [note] = (await load(*rows)).notes
    assert "1 order with goods" in note
    await shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled'")
    assert (await load(*rows)).notes == []


WITHOUT_METHOD: list[dict[str, str]] = [
    {},
    {"Financial_Status": "pending"},
    {"Financial_Status": "refunded"},
    {"Fulfillment_Status": "fulfilled"},
    {"Cancelled_at": "2026-03-02 12:00:00 +0000"},
    {"Lineitem_requires_shipping": "false"},
]


async def test_v13_a_file_can_have_a_column_of_refunded_units(shop: Shop, load: Import) -> None:
    row = first(Financial_Status="partially_refunded", Refunded_Amount="12.50")
    await load(row | {"Lineitem refunded quantity": "1"})
    assert await shop.sql(LINES) == [("MUG", 1, 1)]
    await load(row)
    assert await shop.sql(LINES) == [("MUG", 1, 1)]


async def test_v1_a_further_refund_asks_again(shop: Shop) -> None:
    await put(shop, MUGS)
    assert (await approve(shop)).units == 3
    await put(shop, MUGS, refunded_amount="5.00")
    await ask(shop)
