"""Known orders change to what their sources say now, and nothing that happened here is lost (V11, V12)."""

from typing import Any

import pytest

from commerce import fulfillment, inventory, open_orders, order_intake, orders
from commerce.database import Database
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.messages.orders import Hold, OrderRef
from commerce.messages.pending_orders import PendingPageRequest
from commerce.order_intake import Stored
from tests.commerce.shop import Shop

HEAD: dict[str, str] = {
    "id": "1001",
    "name": "#1001",
    "email": "ann@customer.example",
    "financial_status": "paid",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "shipping_name": "Ann Lee",
    "shipping_city": "London",
    "shipping_country": "GB",
}
MUGS, BOX = OrderLine("MUG", "Mug", 2, "2.50", True), OrderLine("BOX", "Box", 1, "1.00", True)
LINES = "SELECT sku, quantity, variant_id FROM order_lines ORDER BY position"


def received(*lines: OrderLine, **head: str) -> NewOrder:
    """Return the order as its source sends it; without lines, two mugs."""
    order = parse_order(OrderHead(**HEAD | head), lines or (MUGS,), currency="GBP")
    assert isinstance(order, NewOrder), order
    return order


@pytest.fixture
async def shop(database: Database) -> Shop:
    """A shop with mugs, boxes and the order."""
    shop = Shop(database)
    await shop.stock("MUG", main=9)
    await shop.stock("BOX", main=9)
    await put(shop)
    return shop


async def put(shop: Shop, *lines: OrderLine, **head: str) -> Stored:
    stored: Stored = await shop.call(order_intake.store_order, received(*lines, **head))
    return stored


async def column(shop: Shop, *names: str) -> Any:
    return (await shop.sql(f"SELECT {', '.join(names)} FROM orders"))[0]


async def updates(shop: Shop) -> list[dict[str, Any]]:
    return [data for kind, _, data in await shop.events() if kind == "order.updated"]


async def test_a_changed_address_is_taken_over(shop: Shop) -> None:
    stored = await put(shop, shipping_city="Leeds", shipping_zip="LS1 1UR")
    assert not stored.is_new and sorted(stored.difference.changed) == ["shipping_city", "shipping_zip"]
    assert await column(shop, "shipping_city", "shipping_zip", "revision") == ("Leeds", "LS1 1UR", 2)
    [data] = await updates(shop)
    assert (data["order_id"], data["revision"], data["process"]) == ("1001", 2, "needed")
    assert sorted(data["fields"]) == ["shipping_city", "shipping_zip"]
    assert "Leeds" not in str(data)


async def test_the_same_content_again_changes_nothing(shop: Shop) -> None:
    await put(shop, shipping_city="Leeds")
    assert (await put(shop, shipping_city="Leeds")).difference.changed == []
    assert await column(shop, "revision") == 2
    assert len(await updates(shop)) == 1


async def test_an_order_that_becomes_paid_is_pending(database: Database) -> None:
    shop = Shop(database)
    await shop.stock("MUG", main=9)
    await put(shop, financial_status="pending")
    assert await shop.events() == []
    await put(shop)
    [data] = await updates(shop)
    assert (data["fields"], data["process"]) == (["financial_status"], "needed")
    assert (await shop.call(open_orders.list_pending, PendingPageRequest(limit=9))).order_ids == ["1001"]


async def test_an_order_that_the_shop_cancels_is_not_pending(shop: Shop) -> None:
    await put(shop, cancelled_at="2026-03-03T12:00:00Z")
    kinds = [(kind, data.get("process"), data.get("fulfilled")) for kind, _, data in await shop.events()]
    assert kinds[1:] == [("order.updated", "outdated", None), ("order.cancelled", None, False)]
    assert (await shop.call(open_orders.list_pending, PendingPageRequest(limit=9))).order_ids == []
    await put(shop)  # an older file
    assert (await column(shop, "cancelled_at")) is not None


async def test_an_order_that_the_shop_has_shipped_is_not_pending(shop: Shop) -> None:
    await put(shop, fulfillment_status="fulfilled")
    assert await column(shop, "fulfillment_status") == "fulfilled_elsewhere"
    assert (await shop.call(open_orders.list_pending, PendingPageRequest(limit=9))).order_ids == []


async def test_tags_change_without_disturbing_the_run(shop: Shop) -> None:
    await put(shop, tags="vip")
    [data] = await updates(shop)
    assert data["process"] == "unaffected"
    assert await column(shop, "revision", "decisive_revision") == (2, 1)
    await shop.call(orders.raise_if_changed, OrderRef(order_id="1001", revision=1))


async def test_lines_are_changed_added_and_removed_but_never_deleted(shop: Shop) -> None:
    await put(shop, MUGS._replace(quantity=3), BOX)
    assert await shop.sql(LINES) == [("MUG", 3, "MUG"), ("BOX", 1, "BOX")]
    assert await column(shop, "total") == 395 + 3 * 250 + 100
    await put(shop, BOX)
    assert await shop.sql(LINES) == [("MUG", 0, "MUG"), ("BOX", 1, "BOX")]
    await put(shop, MUGS, BOX)
    assert await shop.sql(LINES) == [("MUG", 2, "MUG"), ("BOX", 1, "BOX")]


async def test_a_removed_line_needs_no_stock_and_ships_nothing(shop: Shop) -> None:
    await put(shop, BOX)
    valid = await shop.call(orders.validate, "1001")
    assert (valid.lines, valid.units) == (1, 1)
    await shop.call(inventory.check, "1001")
    await shop.call(inventory.reserve, "1001")
    assert (await shop.call(fulfillment.create, "1001")).units == 1
    assert (await shop.levels("MUG"), await shop.levels("BOX")) == ({"main": (9, 0)}, {"main": (8, 0)})
    assert await shop.breaches() == []


async def test_units_reserved_for_older_lines_are_released_completely(shop: Shop) -> None:
    await shop.call(inventory.reserve, "1001")
    await put(shop, BOX)
    await shop.call(inventory.release, "1001")
    assert await shop.levels("MUG") == {"main": (9, 0)}
    assert await shop.breaches() == []


async def test_a_fulfilled_order_keeps_its_address_and_its_lines_but_notes_a_refund(shop: Shop) -> None:
    await shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled'")
    stored = await put(
        shop,
        BOX,
        shipping_city="Leeds",
        financial_status="refunded",
        refunded_amount="8.95",
        fulfillment_status="fulfilled",
    )
    assert sorted(stored.difference.changed) == ["financial_status", "refunded_amount"]
    assert {"lines", "shipping_city"} <= set(stored.difference.kept)
    assert "fulfillment_status" not in stored.difference.kept
    assert await column(shop, "payment_status", "refunded_total", "shipping_city") == ("refunded", 895, "London")
    assert await shop.sql(LINES) == [("MUG", 2, "MUG")]
    assert (await updates(shop))[0]["process"] == "unaffected"


async def test_a_cancellation_after_the_fulfillment_is_published(shop: Shop) -> None:
    await shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled'")
    await put(shop, cancelled_at="2026-03-03T12:00:00Z")
    [cancelled] = [data for kind, _, data in await shop.events() if kind == "order.cancelled"]
    known = {"order_id": "1001", "revision": 2, "fulfilled": True}
    assert cancelled == known | {"taken_back": False, "refunded": 0, "refund_due": 0}


async def test_a_change_ends_the_hold_of_a_failed_order_but_not_that_of_an_operator(shop: Shop) -> None:
    for reason, after in (("failed: CarrierRefused", None), ("cancelled", "cancelled")):
        await shop.call(orders.hold, Hold(order_id="1001", reason=reason))
        await put(shop, shipping_city=reason)
        assert await column(shop, "hold_reason") == after
        assert (await updates(shop))[-1]["process"] == ("needed" if after is None else "outdated")


async def test_a_change_that_no_run_depends_on_leaves_the_hold(shop: Shop) -> None:
    await shop.call(orders.hold, Hold(order_id="1001", reason="failed: CarrierRefused"))
    await put(shop, tags="vip")
    assert await column(shop, "hold_reason") == "failed: CarrierRefused"


async def test_an_older_time_of_the_source_changes_nothing(shop: Shop) -> None:
    await put(shop, shipping_city="Leeds", updated_at="2026-03-03T12:00:00Z")
    stored = await put(shop, shipping_city="York", updated_at="2026-03-03T11:00:00Z")
    assert (stored.difference.changed, stored.difference.kept) == ([], ["shipping_city"])
    assert await column(shop, "shipping_city") == "Leeds"


async def test_a_later_time_without_other_changes_counts(shop: Shop) -> None:
    await put(shop, updated_at="2026-03-03T12:00:00Z")
    assert await updates(shop) == []
    await put(shop, shipping_city="York", updated_at="2026-03-03T11:00:00Z")
    assert await column(shop, "shipping_city", "revision") == ("London", 1)


async def test_a_changed_address_finds_its_guest(shop: Shop) -> None:
    await put(shop, email="bob@customer.example")
    query = "SELECT customers.email FROM orders JOIN customers ON customers.id = customer_id"
    assert await shop.sql(query) == ["bob@customer.example"]


async def test_what_an_operator_has_corrected_stays_until_the_source_changes_it(shop: Shop) -> None:
    await shop.sql("""UPDATE orders SET shipping_city = 'Leeds', corrections = '{"shipping_city": "London"}'""")
    await put(shop, tags="vip")
    assert await column(shop, "shipping_city", "tags") == ("Leeds", "vip")
    await put(shop, shipping_city="York")
    assert await column(shop, "shipping_city", "corrections") == ("York", None)
