"""What a return brings back, where it goes, and what it is worth (R1 to R4)."""

from pathlib import Path
from typing import Any

import pytest

from commerce import fulfillment, generations, inventory, payments, returns, shipments
from commerce.database import Database
from commerce.errors import AddressIncomplete, BadInput, UnreadableFile
from commerce.imports.receipts import read_receipts
from commerce.messages.payments import RefundRequest
from commerce.messages.returns import (
    Item,
    NewReturn,
    ReceivedItem,
    ReceivedReturn,
    ReceivedUnits,
    RegisteredReturn,
    ReturnReceipt,
    ReturnRef,
    return_process_id,
)
from commerce.queries.returns import find_return, list_returns
from tests.commerce.shop import NOON, Shop

PRICE = 250


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


async def fulfil(shop: Shop, order_id: str = "1", *, label: bool = True) -> None:
    """Fulfill an order, without its process."""
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id, per_location=True)
    await shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled' WHERE id = :id", id=order_id)
    if label:
        await shop.sql("UPDATE fulfillments SET shipment_id = 'shp', completed_at = now()")


async def register(shop: Shop, *items: tuple[str, int], return_id: str = "r", **options: bool) -> RegisteredReturn:
    wanted = NewReturn(
        order_id="1",
        return_id=return_id,
        items=[Item(sku=sku, quantity=units) for sku, units in items],
        **{"label": True, "refund": True, "refund_shipping": False} | options,
    )
    return await shop.call(returns.register, wanted, 30)


async def receive(shop: Shop, *items: tuple[str, int, int], return_id: str = "r") -> ReceivedReturn:
    """Receive items as SKU, units and sellable units; none: everything."""
    await shop.call(generations.take_over, return_process_id(return_id), "g")
    came = [ReceivedItem(sku=sku, quantity=units, sellable=sellable) for sku, units, sellable in items]
    receipt = ReturnReceipt(items=came, everything=not came)
    return await shop.call(returns.receive, ReceivedUnits(order_id="1", return_id=return_id, receipt=receipt))


async def refund(shop: Shop, return_id: str = "r") -> int:
    """Plan the refund of a return, and return its amount."""
    request = RefundRequest(order_id="1", purpose=return_process_id(return_id), return_id=return_id)
    return (await shop.call(payments.plan_refund, request, lambda _: "shop")).amount


async def test_units_go_back_to_one_location_as_the_items_that_were_sent(shop: Shop) -> None:  # (R2, R3)
    await shop.variant("MUG")
    await shop.add_stock("MUG", near=1, far=4)
    await shop.variant("SET", items={"MUG": 2})
    await shop.variant("CARD", managed=False)
    await shop.order("1", ("MUG", 1), ("SET", 2), ("CARD", 1))
    await fulfil(shop)
    assert await shop.levels("MUG") == {"far": (0, 0), "near": (0, 0)}
    await shop.sql("UPDATE variant_inventory_items SET required_quantity = 9")  # what it needs now changes nothing
    assert (await register(shop)).units == 4
    assert await receive(shop, ("SET", 2, 1), ("CARD", 1, 1)) == ReceivedReturn(units=3, restocked=2, refund=True)
    assert await shop.levels("MUG") == {"far": (2, 0), "near": (0, 0)}
    assert await receive(shop) == ReceivedReturn(units=3, restocked=2, refund=True)  # again
    assert (await register(shop, return_id="s")).units == 1  # the mug that has not come
    assert (await receive(shop, return_id="s")).restocked == 1
    view = await shop.call(find_return, "r")
    assert [(line.sku, line.quantity, line.received, line.sellable) for line in view.lines] == [
        ("MUG", 1, 0, 0),
        ("SET", 2, 2, 1),
        ("CARD", 1, 1, 1),
    ]
    page = await shop.call(list_returns, state="received", limit=1)
    assert ([each.return_id for each in page.returns], page.next_cursor) == (["s"], "s")
    assert await shop.breaches() == []


@pytest.mark.parametrize(
    ("lines", "label", "options", "needed"),
    [
        ([("MUG", 1)], True, {}, True),
        ([("MUG", 1)], True, {"label": False}, False),
        ([("MUG", 1)], False, {}, False),  # it was picked up
        ([("CARD", 1)], True, {}, False),
    ],
)
async def test_goods_that_were_sent_with_a_label_get_one_to_come_back(
    shop: Shop, lines: list[tuple[str, int]], label: bool, options: dict[str, bool], needed: bool
) -> None:  # (R2)
    await shop.stock("MUG", main=1)
    await shop.variant("CARD", managed=False)
    await shop.order("1", ("MUG", 1), ("CARD", 1))
    await shop.sql("UPDATE order_lines SET requires_shipping = sku = 'MUG'")
    await fulfil(shop, label=label)
    assert (await register(shop, *lines, **options)).needs_label is needed


async def test_the_parcel_comes_from_the_customer_unless_that_one_was_forgotten(shop: Shop) -> None:  # (R2, A7)
    await shop.stock("MUG", main=1)
    await shop.order("1", MUG=1, columns={"shipping_address1": "1 High Street"})
    await fulfil(shop)
    await register(shop)
    ref = ReturnRef(order_id="1", return_id="r")
    shipment = await shop.call(shipments.load_return, ref)
    assert (shipment.is_return, shipment.recipient.street1) == (True, "1 High Street")
    await shop.sql("UPDATE orders SET forgotten_at = now()")
    with pytest.raises(AddressIncomplete):
        await shop.call(shipments.load_return, ref)


async def test_more_than_there_is_is_refused_by_name(shop: Shop) -> None:  # (R1, R3)
    await shop.stock("MUG", main=3)
    await shop.order("1", ("MUG", 2), ("MUG", 1))
    await fulfil(shop)
    with pytest.raises(BadInput, match=r"order has 1 fewer units of it; items\.1\.sku"):
        await register(shop, ("MUG", 4), ("CUP", 1))
    assert (await register(shop, ("MUG", 3))).units == 3  # of both lines
    with pytest.raises(BadInput, match="nothing of the order is left"):
        await register(shop, return_id="s")
    with pytest.raises(BadInput, match="the return has 1 fewer units of it"):
        await receive(shop, ("MUG", 4, 4))
    with pytest.raises(BadInput, match="is that of another return"):
        await register(shop, return_id="r")
    assert await shop.sql("SELECT returning_quantity FROM order_lines ORDER BY position") == [2, 1]


@pytest.mark.parametrize(
    ("columns", "worth"),
    [
        ({"total": 1_000}, [333, 667]),
        ({"total": 1_050, "shipping_total": 50}, [333, 667]),
        ({"total": 950, "shipping_total": 50, "discount_total": 100}, [300, 600]),
        ({"total": 1_200, "tax_total": 200, "taxes_included": False}, [400, 800]),
        ({"total": 1_200, "tax_total": 200, "taxes_included": True, "tip_total": 200}, [333, 667]),
        ({"total": 0, "discount_total": 1_000}, [0, 0]),
    ],
)
async def test_all_units_together_are_worth_what_was_paid_for_them(
    shop: Shop, columns: dict[str, Any], worth: list[int]
) -> None:  # (R4)
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=3, columns=columns)
    await shop.sql("UPDATE order_lines SET unit_price = 400, discount = 200")
    if "discount_total" not in columns:
        await shop.sql("UPDATE orders SET discount_total = 200")
    else:
        await shop.sql("UPDATE orders SET discount_total = discount_total + 200")
    await fulfil(shop)
    amounts = []
    for return_id, units in (("r", 1), ("s", 2)):
        await register(shop, ("MUG", units), return_id=return_id)
        await receive(shop, return_id=return_id)
        amounts.append(await refund(shop, return_id))
    assert amounts == worth


async def test_what_the_shop_refunds_since_the_return_was_registered_is_not_refunded_again(shop: Shop) -> None:  # (R4)
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=3)
    await fulfil(shop)
    await shop.sql("UPDATE orders SET refunded_total = 50")  # for another reason, before
    await register(shop, ("MUG", 1))
    await register(shop, ("MUG", 1), return_id="s")
    for return_id in "rs":
        await receive(shop, return_id=return_id)
    await shop.sql("UPDATE orders SET refunded_total = 350, payment_status = 'partially_refunded'")
    assert [await refund(shop, each) for each in "rs"] == [0, 2 * PRICE - 300]
    views = [await shop.call(find_return, each) for each in "rs"]
    assert [(view.amount, view.refunded_elsewhere, view.refund_due) for view in views] == [
        (PRICE, PRICE, 0),
        (PRICE, 50, 200),
    ]
    await register(shop, ("MUG", 1), return_id="t", refund=False)
    assert (await receive(shop, return_id="t")).refund is False


async def test_never_more_is_refunded_than_is_left(shop: Shop) -> None:  # (P1, R4)
    await shop.stock("MUG", main=1)
    await shop.order("1", MUG=1, columns={"total": 300, "shipping_total": 50, "refunded_total": 200})
    await fulfil(shop)
    await register(shop, refund_shipping=True)
    await receive(shop)
    assert await refund(shop) == 100
    assert await shop.audit() != []  # the return is not completed
    assert [finding.rule for finding in await shop.audit()] == ["unfinished-return-has-a-process"]


async def test_a_closed_return_leaves_its_units_and_can_be_registered_again(shop: Shop) -> None:  # (R6)
    await shop.stock("MUG", main=2)
    await shop.order("1", MUG=2)
    await fulfil(shop)
    ref = ReturnRef(order_id="1", return_id="r")
    await register(shop)
    assert await shop.call(returns.ask, ref, "return-label/r/1", NOON)
    for _ in range(2):
        await shop.call(returns.close, ref, "return-closed/r/1")
    assert await shop.sql("SELECT kind FROM notifications ORDER BY kind") == ["return-closed", "return-label"]
    assert await shop.sql("SELECT returning_quantity FROM order_lines") == [0]
    assert (await register(shop, ("MUG", 1))).units == 1
    assert (await receive(shop)).restocked == 1
    await shop.call(returns.close, ref, "return-closed/r/2")  # too late
    assert (await shop.call(find_return, "r")).state == "received"


FILE = """Return;SKU;Quantity;Sellable
r1;MUG;2;1
r1;CUP;1;

9400111;#2;1;1
r2;MUG;none;1
r2;CUP;1;1
;CUP;1;1
r3;CUP;1;2
"""


def test_a_file_says_what_came_back_by_return(tmp_path: Path) -> None:  # (R3)
    (path := tmp_path / "receipts.csv").write_text(FILE, encoding="utf-8-sig")
    receipts = read_receipts(path)
    assert receipts.by_return == {
        "r1": ReturnReceipt(
            items=[ReceivedItem(sku="MUG", quantity=2, sellable=1), ReceivedItem(sku="CUP", quantity=1)]
        ),
        "9400111": ReturnReceipt(items=[ReceivedItem(line=2, quantity=1, sellable=1)]),
    }
    assert [problem.partition(":")[0] for problem in receipts.problems] == ["line 6", "line 8", "line 9"]


@pytest.mark.parametrize("text", ["", "Return,SKU\nr1,MUG\n", 'Return,SKU,Quantity\n"r1,MUG,1\n' + "x" * 200_000])
def test_a_file_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    (path := tmp_path / "receipts.csv").write_text(text)
    with pytest.raises(UnreadableFile):
        read_receipts(path)
