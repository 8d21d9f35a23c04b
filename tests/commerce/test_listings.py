"""Order lines find their variants by SKU, by title and options, or by a person's link: I12."""

import asyncio
from pathlib import Path

import pytest

from commerce import backlog, listings, open_orders, order_intake, orders
from commerce.errors import BadInput
from commerce.imports import import_inventory, import_orders
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.messages.orders import Hold
from commerce.messages.pending_orders import PendingPageRequest
from tests.commerce.shop import NOON, Shop
from tests.polling import until_lock_wait

INVENTORY = "Handle,Title,Option1 Name,Option1 Value,Option2 Name,Option2 Value,SKU,Location,On hand\n"
ORDERS = (
    "Name,Email,Financial Status,Paid at,Fulfillment Status,Currency,Shipping,Shipping Method,Created at,"
    "Lineitem quantity,Lineitem name,Lineitem price,Lineitem sku,Lineitem requires shipping,Shipping Country,Id\n"
)
RED, BLUE, PIN = "mug,Mug,Color,Red,Size,L", "mug,Mug,Color,Blue,Size,L", "pin,Pin,Title,Default Title,,"
LINKED = "SELECT order_id, title, variant_id FROM order_lines ORDER BY order_id, position"


async def stock(shop: Shop, folder: Path, *rows: str) -> None:
    (folder / "stock.csv").write_text(INVENTORY + "".join(f"{row},Main,5\n" for row in rows))
    assert (await import_inventory(shop.database, [folder / "stock.csv"])).bad == []


async def order(shop: Shop, folder: Path, order_id: str, *names: str, sku: str = "") -> None:
    lines = [f"#{order_id},,{{}},{name},1,{sku},true,,{order_id}\n" for name in names]
    head = "paid,,,GBP,0,,2026-03-02 08:34:00 +0000,1"
    (folder / "orders.csv").write_text(
        ORDERS + "".join(line.format(",,,,,,,1" if i else head) for i, line in enumerate(lines))
    )
    assert (await import_orders(shop.database, [folder / "orders.csv"], currency="GBP")).taken == 1


def parsed(order_id: str, name: str) -> NewOrder:
    head = OrderHead(id=order_id, financial_status="paid", created_at="2026-03-02 08:34:00 +0000")
    new = parse_order(head, [OrderLine("", name, 1, "1", requires_shipping=True)], currency="GBP")
    assert isinstance(new, NewOrder)
    return new


async def pending(shop: Shop) -> list[str]:
    return (await shop.call(open_orders.list_pending, PendingPageRequest(limit=100))).order_ids


async def test_i12_lines_without_a_sku_are_linked_by_title_and_options(shop: Shop, tmp_path: Path) -> None:
    await order(shop, tmp_path, "1", "Mug - Red / L", "Pin", "Mug", "Mug - Green / L")
    await stock(shop, tmp_path, f"{RED},", f"{BLUE},BLUE", f"{PIN},PIN")
    await order(shop, tmp_path, "2", "Mug - Blue / L", "mug - blue / l")
    await shop.call(order_intake.store_order, parsed("3", "Pin"))
    assert await shop.sql(LINKED) == [
        ("1", "Mug - Red / L", "#mug/Red / L"),
        ("1", "Pin", "PIN"),
        ("1", "Mug", None),
        ("1", "Mug - Green / L", None),
        ("2", "Mug - Blue / L", "BLUE"),
        ("2", "mug - blue / l", None),
        ("3", "Pin", "PIN"),
    ]


async def test_i12_lines_that_are_added_to_a_known_order_are_linked_too(shop: Shop, tmp_path: Path) -> None:
    await stock(shop, tmp_path, f"{PIN},PIN", f"{BLUE},BLUE")
    await shop.call(order_intake.store_order, parsed("3", "Pin"))
    await shop.call(order_intake.store_order, parsed("3", "Mug - Blue / L"))
    assert await shop.sql(LINKED) == [("3", "Pin", "PIN"), ("3", "Mug - Blue / L", "BLUE")]


async def test_i12_a_title_of_several_variants_waits_for_a_person(shop: Shop, tmp_path: Path) -> None:
    await stock(shop, tmp_path, f"{PIN},OLD", "pin-2,Pin,Title,Default Title,,,NEW")
    await order(shop, tmp_path, "1", "Pin")
    assert await shop.sql(LINKED) == [("1", "Pin", None)]
    [waiting] = await shop.call(listings.list_unlinked)
    assert waiting.model_dump() == {"text": "Pin", "has_sku": False, "lines": 1, "orders": 1}
    assert await pending(shop) == []
    assert await shop.call(backlog.count_waiting_for_product) == 1
    assert await shop.call(listings.link, "Pin", "NEW") == 1
    assert await shop.sql(LINKED) == [("1", "Pin", "NEW")]
    assert await pending(shop) == ["1"]
    assert await shop.call(backlog.count_waiting_for_product) == 0
    assert await shop.call(listings.list_unlinked) == []
    await order(shop, tmp_path, "2", "Pin")  # a link is for later orders, too
    await shop.call(order_intake.store_order, parsed("3", "Pin"))
    assert await shop.sql(LINKED) == [("1", "Pin", "NEW"), ("2", "Pin", "NEW"), ("3", "Pin", "NEW")]
    assert await shop.call(listings.link, "Pin", "OLD") == 0  # what is linked stays
    await order(shop, tmp_path, "4", "Pin")
    assert (await shop.sql(LINKED))[-1] == ("4", "Pin", "OLD")


async def test_i12_a_mangled_sku_is_linked_by_a_person(shop: Shop, tmp_path: Path) -> None:
    await stock(shop, tmp_path, f"{PIN},5012345678900")
    await order(shop, tmp_path, "1", "Pin", sku="5.01235E+12")
    assert (await shop.call(listings.list_unlinked))[0].text == "5.01235E+12"
    with pytest.raises(BadInput, match="no variant has this SKU"):
        await shop.call(listings.link, "5.01235E+12", "5012")
    await shop.call(listings.link, "5.01235E+12", "5012345678900")
    assert await shop.sql(LINKED) == [("1", "Pin", "5012345678900")]


async def test_an_order_that_came_before_its_products_is_pending_once_an_import_brings_the_last_one(
    shop: Shop, tmp_path: Path
) -> None:  # (V14)
    await order(shop, tmp_path, "1", "Pin", "Pen")
    await shop.call(order_intake.store_order, parsed("2", "Pin"))
    await shop.order("3", PIN=1, columns={"hold_reason": "by hand"})
    await shop.order("4", GONE=1, columns={"cancelled_at": NOON})
    assert (await pending(shop), await shop.call(backlog.count_waiting_for_product)) == ([], 2)
    await stock(shop, tmp_path, f"{PIN},PIN")
    assert (await pending(shop), await shop.call(backlog.count_waiting_for_product)) == (["2"], 1)
    await stock(shop, tmp_path, "pen,Pen,Title,Default Title,,,")
    assert (await pending(shop), await shop.call(backlog.count_waiting_for_product)) == (["1", "2"], 0)


async def test_a_removed_line_needs_no_product(shop: Shop) -> None:
    await shop.stock("MUG", main=1)
    await shop.order("1", MUG=1, GONE=1)
    await shop.sql("UPDATE order_lines SET quantity = 0 WHERE sku = 'GONE'")
    assert await pending(shop) == ["1"]


async def test_an_import_ends_the_hold_of_orders_that_waited_for_its_products(shop: Shop, tmp_path: Path) -> None:
    for order_id, reason in (("1", "failed: UnknownVariant"), ("2", "failed: UnknownVariant"), ("3", "by hand")):
        await shop.order(order_id, PIN=1, **({"PEN": 1} if order_id == "2" else {}), columns={"hold_reason": reason})
    await stock(shop, tmp_path, f"{PIN},PIN")
    assert await shop.sql("SELECT hold_reason FROM orders ORDER BY id") == [None, "failed: UnknownVariant", "by hand"]


async def test_an_order_linked_while_its_run_fails_is_not_held(shop: Shop, tmp_path: Path) -> None:
    await shop.order("1", PIN=1)
    await stock(shop, tmp_path, f"{PIN},PIN")
    await shop.call(orders.hold, Hold(order_id="1", reason="failed: UnknownVariant"))
    assert await shop.order_columns("1", "hold_reason") == (None,)
    await shop.call(orders.hold, Hold(order_id="1", reason="failed: CarrierRefused"))
    assert await shop.order_columns("1", "hold_reason") == ("failed: CarrierRefused",)


async def test_a_link_waits_for_orders_that_come_in(shop: Shop, tmp_path: Path) -> None:
    await stock(shop, tmp_path, f"{PIN},OLD", "pin-2,Pin,Title,Default Title,,,NEW")
    async with shop.database.transaction() as tx:
        await order_intake.store_order(tx, parsed("1", "Pin"))
        linking = asyncio.create_task(shop.call(listings.link, "Pin", "NEW"))
        await until_lock_wait(shop.sql)
    assert await linking == 1
    assert await shop.sql(LINKED) == [("1", "Pin", "NEW")]
