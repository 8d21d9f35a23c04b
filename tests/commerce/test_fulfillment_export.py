"""What was shipped is exported completely and once: I15."""

import asyncio
import csv
import io
import random

import pytest

from commerce import fulfillment, fulfillment_export, inventory, orders, shipments
from commerce.errors import BadInput
from commerce.fulfillment_export import COLUMNS, csv_text, load_page
from commerce.messages.orders import Label, LabelRequest
from tests.commerce.shop import Shop

LABEL = Label(shipment_id="shp_1", tracking_number="T1", carrier="USPS", label_url="https://carrier.example/1.pdf")
DAY = "2026-03-02 12:00:00+00"


async def begin(shop: Shop, order_id: str, *lines: tuple[str, int], label: Label | None = LABEL) -> None:
    await shop.order(order_id, *lines)
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id)
    if label:
        await shop.call(shipments.record_label, LabelRequest(order_id=order_id), label)


async def ship(shop: Shop, order_id: str, *lines: tuple[str, int], label: Label | None = LABEL) -> None:
    await begin(shop, order_id, *lines, label=label)
    await shop.call(orders.complete, order_id)


async def names(shop: Shop, since: int, limit: int = 1_000) -> tuple[list[str], int]:
    """Return the orders of a page, and where the next one starts."""
    page = await shop.call(load_page, since, limit)
    return list(dict.fromkeys(row[0] for row in page.rows)), page.last


async def test_one_shop_gets_its_own_orders(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    for order_id, source in (("1", "shop"), ("etsy~1", "etsy"), ("2", "shop")):
        await ship(shop, order_id, ("MUG", 1))
        await shop.sql(f"UPDATE orders SET source = '{source}', external_id = NULL WHERE id = '{order_id}'")
    everything = await shop.call(load_page, 0)
    assert (everything.fulfillments, everything.sources) == (3, {"shop", "etsy"})
    for source, numbers in (("shop", ["1", "3"]), ("etsy", ["2"]), ("amazon", [])):
        page = await shop.call(load_page, 0, 1_000, "shopify", source)
        assert [row[-1] for row in page.rows] == numbers
        assert (page.last, page.sources) == (int(numbers[-1]) if numbers else 0, {source} if numbers else set())
    first = await shop.call(load_page, 0, 1, "shopify", "shop")
    assert (await shop.call(load_page, first.last, 1, "shopify", "shop")).last == 3


async def test_i15_a_number_that_was_never_given_out_is_refused(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await ship(shop, "1", ("MUG", 1))
    assert await names(shop, 0) == (["1"], 1)
    await ship(shop, "2", ("MUG", 1))
    with pytest.raises(BadInput, match="since: must be at most 1, the last number that was given out"):
        await names(shop, 2)
    assert await names(shop, 1) == (["2"], 2)  # the refused one has used up no number


async def test_a_row_per_line_with_its_parcel(shop: Shop) -> None:
    await shop.stock("MUG", main=5, loft=5)
    await shop.stock("PEN", main=5)
    await ship(shop, "1", ("MUG", 2), ("PEN", 1))
    await ship(shop, "2", ("MUG", 7), label=None)
    await shop.sql(f"UPDATE fulfillments SET completed_at = '{DAY}'")
    page = await shop.call(load_page, 0)
    rows = list(csv.DictReader(io.StringIO(csv_text(page.rows, "shopify"), newline="")))
    assert [(row["Name"], row["Line: SKU"], row["Line: Quantity"]) for row in rows] == [
        ("1", "MUG", "2"),
        ("1", "PEN", "1"),
        ("2", "MUG", "7"),
    ]
    assert rows[0] == {
        "Name": "1",
        "Order id": "1",
        "Line: Type": "Fulfillment Line",
        "Line: Title": "Mug",
        "Line: SKU": "MUG",
        "Line: Quantity": "2",
        "Fulfillment: ID": "1",
        "Fulfillment: Status": "success",
        "Fulfillment: Processed At": "2026-03-02 12:00:00 +0000",
        "Fulfillment: Location": "main",
        "Fulfillment: Tracking Company": "USPS",
        "Fulfillment: Tracking Number": "T1",
        "Export number": "1",
    }
    assert (rows[2]["Fulfillment: Location"], rows[2]["Fulfillment: Tracking Number"]) == ("", "")
    assert (page.fulfillments, page.last) == (2, 2)
    parcels = await shop.call(load_page, 1, 1_000, "woocommerce")
    assert csv_text(parcels.rows, "woocommerce", header=False) == "2,,,02-03-2026,1,MUG,7,2\r\n"


async def test_i15_only_completed_fulfillments_are_exported(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await begin(shop, "1", ("MUG", 1))
    await ship(shop, "2", ("MUG", 1))
    await shop.order("3", ("MUG", 1))
    await shop.call(inventory.reserve, "3")
    await shop.call(fulfillment.cancel, await shop.call(fulfillment.create, "3"), "3")
    assert await names(shop, 0) == (["2"], 1)
    await shop.call(orders.complete, "1")
    assert await names(shop, 1) == (["1"], 2)


async def test_i15_fulfillments_of_the_build_before_are_exported(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    for order_id in "12":
        await ship(shop, order_id, ("MUG", 1))
    await shop.sql("UPDATE fulfillments SET completed_at = NULL")
    assert await names(shop, 0) == (["1", "2"], 2)


async def test_i15_an_order_that_completes_in_a_long_transaction_is_not_missed(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await begin(shop, "1", ("MUG", 1))
    async with shop.database.transaction() as tx:
        await orders.complete(tx, "1")
        await ship(shop, "2", ("MUG", 1))
        assert await names(shop, 0) == (["2"], 1)
    assert await names(shop, 1) == (["1"], 2)
    assert await names(shop, 0) == (["2", "1"], 2)


async def test_i15_pages_neither_miss_nor_repeat_while_orders_are_shipped(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fulfillment_export, "NUMBERED_AT_ONCE", 10_000)
    await shop.stock("MUG", main=60)
    exported: list[str] = []

    async def ship_some(first: int) -> None:
        for n in range(first, first + 15):
            await ship(shop, str(n), ("MUG", 1))
            await asyncio.sleep(random.random() / 100)

    async def export_all() -> None:
        since = 0
        while len(exported) < 45:
            found, since = await names(shop, since, limit=2)
            exported.extend(found)
            await asyncio.gather(names(shop, 0), asyncio.sleep(0.001))  # another reader disturbs nothing

    await asyncio.gather(ship_some(0), ship_some(15), ship_some(30), export_all())
    assert sorted(exported, key=int) == [str(n) for n in range(45)]
    assert (await names(shop, 0))[0] == exported


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@A1", "\t=1", " =1", "＝1"])
async def test_no_cell_is_a_formula(shop: Shop, text: str) -> None:
    await shop.stock("MUG", main=9)
    await ship(shop, "1", ("MUG", 1), label=Label(shipment_id="s", tracking_number=text, label_url="u"))
    await shop.sql("UPDATE order_lines SET title = :text, sku = :text", text=text)
    page = await shop.call(load_page, 0)
    [row] = csv.DictReader(io.StringIO(csv_text(page.rows, "shopify"), newline=""))
    assert {row[name] for name in ("Line: Title", "Line: SKU", "Fulfillment: Tracking Number")} == {f"'{text}"}


def test_every_layout_ends_with_the_number_to_continue_after() -> None:
    assert [list(columns)[-1] for columns in COLUMNS.values()] == ["Export number", "export_number"]
