"""Lists of stock and movements, an item in full, and what an operator sets a level to (I1, I13)."""

from datetime import UTC, datetime, timedelta

import pytest

from commerce import fulfillment, inventory, stock_sync
from commerce.errors import BadInput, ItemNotFound
from commerce.queries.stock import list_movements, list_stock, load_item
from commerce.stock_corrections import set_stock
from commerce.stock_sync import CountedLevel
from tests.commerce.shop import Shop

WHO = {"reason": "counted", "actor": "ann"}


async def test_items_are_listed_with_their_levels(shop: Shop) -> None:
    for sku in ("MUG", "MAT", "TEA"):
        await shop.stock(sku, main=3, harbour=1)
    await shop.variant("NEW")
    first = await shop.call(list_stock, limit=2)
    assert ([item.sku for item in first.items], first.next_cursor) == (["MAT", "MUG"], "MUG")
    last = await shop.call(list_stock, limit=2, cursor="MUG")
    assert ([(item.sku, len(item.levels)) for item in last.items], last.next_cursor) == ([("NEW", 0), ("TEA", 2)], None)
    assert [item.sku for item in (await shop.call(list_stock, search="M")).items] == ["MAT", "MUG"]
    assert (await shop.call(list_stock, oversold=True)).items == []
    [level, _] = first.items[0].levels
    assert (level.location, level.stocked, level.available, first.items[0].title) == ("main", 3, 3, "Mat")
    with pytest.raises(BadInput):
        await shop.call(list_stock, limit=0)


async def test_an_item_has_its_orders_and_movements(shop: Shop) -> None:
    await shop.stock("MUG", main=9, harbour=2)
    for number in range(4):
        await shop.add_stock("MUG", main=number + 1)
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    item = await shop.call(load_item, "MUG")
    assert [(held.order_id, held.location, held.quantity) for held in item.reservations] == [("1", "main", 2)]
    assert [moved.quantity for moved in item.movements] == [4, 3, 2, 1, 2, 9]
    first = await shop.call(list_movements, "MUG", limit=4)
    rest = await shop.call(list_movements, "MUG", limit=4, cursor=first.next_cursor)
    assert ([moved.quantity for moved in rest.movements], rest.next_cursor) == ([2, 9], None)
    with pytest.raises(BadInput):
        await shop.call(list_movements, "MUG", cursor=10**9)
    with pytest.raises(ItemNotFound):
        await shop.call(load_item, "TEA")
    await shop.call(fulfillment.create, "1")
    [taken] = (await shop.call(list_movements, "MUG", limit=1)).movements
    assert (taken.quantity, taken.order_id) == (-2, "1")


async def test_i13_what_an_operator_sets_is_a_count_of_that_moment(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    earlier = datetime.now(UTC) - timedelta(minutes=1)
    assert await shop.call(set_stock, "MUG", "main", 1, **WHO) == (3, True)
    assert await shop.levels("MUG") == {"main": (1, 2)}
    assert [item.sku for item in (await shop.call(list_stock, oversold=True)).items] == ["MUG"]
    await shop.call(stock_sync.write_levels, [CountedLevel("MUG", "main", 7, earlier)], "a sync")  # counted before
    assert await shop.call(set_stock, "MUG", "main", 5, **WHO) == (1, False)
    assert await shop.call(set_stock, "MUG", "main", 5, **WHO) == (5, False)
    assert await shop.levels("MUG") == {"main": (5, 2)}
    assert await shop.sql("SELECT quantity FROM stock_movements ORDER BY id") == [3, -2, 4]
    assert await shop.sql("SELECT process_id || ' ' || action FROM operator_actions") == ["stock/MUG set-stock"] * 3
    assert not {finding.rule for finding in await shop.audit()} - {"open-order-holds-nothing"}  # no run has reserved it


async def test_an_operator_sets_the_stock_of_a_new_level(shop: Shop) -> None:
    await shop.stock("MUG", main=3, harbour=1)
    await shop.variant("TEA")
    assert await shop.call(set_stock, "TEA", "harbour", 2, **WHO) == (0, False)
    assert await shop.levels("TEA") == {"harbour": (2, 0)}
    for location, units, field in [("nowhere", 1, "location"), ("main", -1, "units"), ("main", 2**31, "units")]:
        with pytest.raises(BadInput) as refused:
            await shop.call(set_stock, "TEA", location, units, **WHO)
        assert refused.value.fields[0].field == field
    with pytest.raises(ItemNotFound):
        await shop.call(set_stock, "NEW", "main", 1, **WHO)
