"""Checking, reserving and releasing stock: I1 to I9."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commerce import fulfillment, inventory
from commerce.database import Database
from commerce.errors import (
    InsufficientInventory,
    InvalidData,
    ItemNotStocked,
    OrderNotFound,
    ReservationMissing,
    VariantWithoutItems,
)
from commerce.messages.orders import CreatedFulfillment, InsufficientItem, Reserved
from tests.commerce.shop import Shop


async def refused(shop: Shop, order_id: str) -> InsufficientInventory:
    """Assert that check and reservation refuse for the same reason and write nothing; return the error."""
    with pytest.raises(InsufficientInventory) as at_check:
        await shop.call(inventory.check, order_id)
    async with shop.database.transaction() as tx:  # committed on purpose: a refusal must write nothing by itself
        with pytest.raises(InsufficientInventory) as at_reserve:
            await inventory.reserve(tx, order_id)
    assert at_check.value.data() == at_reserve.value.data()
    assert await shop.reservations(order_id) == []
    assert await shop.breaches() == []
    return at_reserve.value


async def test_i1_only_reservations_move_reserved_quantity(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.order("1", MUG=2)
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=1, units=2)
    assert await shop.levels("MUG") == {"main": (5, 2)}
    assert await shop.movements("MUG") == []


async def test_i2_releasing_lowers_reserved_quantity_once(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.order("1", ("MUG", 1), ("MUG", 2))
    await shop.order("2", MUG=1)
    for order_id in "12":
        await shop.call(inventory.reserve, order_id)
    for _ in range(2):
        await shop.call(inventory.release, "1")
        assert await shop.levels("MUG") == {"main": (5, 1)}
    assert await shop.reservations("2") == [(1, "MUG", "main", 1)]


async def test_i2_reserving_twice_reserves_once(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=2)
    first = await shop.call(inventory.reserve, "1")
    assert await shop.call(inventory.reserve, "1") == first
    assert await shop.levels("MUG") == {"main": (3, 2)}


async def test_i3_an_item_without_any_level_is_not_stocked(shop: Shop) -> None:
    await shop.variant("MUG")
    await shop.variant("LATER", backorder=True)
    await shop.order("1", MUG=1)
    await shop.order("2", LATER=1)
    for rule in (inventory.check, inventory.reserve):
        for order_id, item in (("1", "MUG"), ("2", "LATER")):
            with pytest.raises(ItemNotStocked) as error:
                await shop.call(rule, order_id)
            assert error.value.inventory_item_id == item


async def test_i3_a_shortage_lists_each_variant_with_its_available_units(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.stock("CUP", main=9)
    await shop.stock("BOX", main=0)
    await shop.order("1", ("MUG", 2), ("CUP", 1), ("BOX", 1), ("MUG", 5))
    error = await refused(shop, "1")
    assert error.count == 2
    assert error.items == [
        InsufficientItem(variant_id="BOX", sku="BOX", requested=1, available=0),
        InsufficientItem(variant_id="MUG", sku="MUG", requested=7, available=3),
    ]


async def test_i3_at_most_100_variants_are_listed_but_all_are_counted(shop: Shop) -> None:
    skus = [f"SKU-{number:03}" for number in range(130)]
    for sku in skus:
        await shop.stock(sku, main=1)
    await shop.order("1", *((sku, 2) for sku in reversed(skus)))
    error = await refused(shop, "1")
    assert error.count == 130
    assert [item.sku for item in error.items] == skus[:100]


async def test_i4_the_sum_over_lines_with_the_same_item_is_checked(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.order("1", ("MUG", 2), ("MUG", 2))
    assert (await refused(shop, "1")).items == [InsufficientItem(variant_id="MUG", sku="MUG", requested=4, available=3)]


async def test_i4_the_sum_over_variants_with_the_same_item_is_checked(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.variant("PAIR", items={"MUG": 2})
    await shop.order("1", MUG=2, PAIR=1)
    error = await refused(shop, "1")
    assert [(item.sku, item.requested, item.available) for item in error.items] == [("MUG", 2, 3), ("PAIR", 1, 1)]


async def test_i4_60_concurrent_orders_for_the_last_20_units_reserve_exactly_20(shop: Shop, database_url: str) -> None:
    await shop.stock("MUG", main=12, overflow=8)
    clients = Shop(Database(database_url, pool_size=60))
    for number in range(60):
        await shop.order(str(number), MUG=1)
    tries = [clients.call(inventory.reserve, str(number)) for number in range(60)]
    answers = await asyncio.gather(*tries, return_exceptions=True)
    await clients.database.close()
    assert sum(isinstance(answer, Reserved) for answer in answers) == 20
    assert sum(isinstance(answer, InsufficientInventory) for answer in answers) == 40
    assert await shop.levels("MUG") == {"main": (12, 12), "overflow": (8, 8)}
    assert await shop.breaches() == []
    assert await deadlocks(shop) == 0


async def test_i4_orders_that_share_items_in_opposite_order_never_deadlock(shop: Shop, database_url: str) -> None:
    skus = [f"SKU-{number}" for number in range(20)]
    for sku in skus:
        await shop.stock(sku, main=3, overflow=40)
    for number in range(30):
        await shop.order(str(number), *((sku, 1) for sku in (skus if number % 2 else reversed(skus))))
    clients = Shop(Database(database_url, pool_size=30))

    async def reserve_and_undo(order_id: str) -> None:
        await clients.call(inventory.reserve, order_id)
        made = await clients.call(fulfillment.create, order_id)
        await clients.call(fulfillment.cancel, made, order_id)
        await clients.call(inventory.release, order_id)

    await asyncio.gather(*(reserve_and_undo(str(number)) for number in range(30)))
    await clients.database.close()
    assert await shop.sql("SELECT DISTINCT stocked_quantity, reserved_quantity FROM inventory_levels ORDER BY 1") == [
        (3, 0),
        (40, 0),
    ]
    assert await shop.breaches() == []
    assert await deadlocks(shop) == 0


async def test_i4_concurrent_reservations_of_one_order_reserve_once(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await shop.order("1", MUG=2)
    answers = await asyncio.gather(*(shop.call(inventory.reserve, "1") for _ in range(8)))
    assert set(answers) == {Reserved(reservations=1, units=2)}
    assert await shop.levels("MUG") == {"main": (9, 2)}


async def test_i5_a_backorder_may_exceed_stock_at_the_first_location(shop: Shop) -> None:
    await shop.stock("MUG", main=1, overflow=2, backorder=True)
    await shop.order("1", MUG=5)
    await shop.call(inventory.check, "1")
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=2, units=5, locations=2)
    assert await shop.levels("MUG") == {"main": (1, 3), "overflow": (2, 2)}


async def test_i5_lines_that_cannot_be_backordered_are_served_first(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await shop.variant("MUG-LATER", backorder=True, items={"MUG": 1})
    await shop.order("1", ("MUG-LATER", 9), ("MUG", 3))
    await shop.call(inventory.reserve, "1")
    assert await shop.levels("MUG") == {"main": (3, 12)}
    await shop.order("2", ("MUG-LATER", 9), ("MUG", 1))
    assert [item.sku for item in (await refused(shop, "2")).items] == ["MUG"]


async def test_i5_unmanaged_variants_need_no_stock(shop: Shop) -> None:
    await shop.variant("SERVICE", managed=False, items={})
    await shop.variant("MUG", managed=False)
    await shop.add_stock("MUG", main=1)
    await shop.order("1", SERVICE=7, MUG=3)
    await shop.call(inventory.check, "1")
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=0, units=0, locations=0)
    assert await shop.levels("MUG") == {"main": (1, 0)}


async def test_i6_a_kit_takes_each_of_its_items(shop: Shop) -> None:
    await shop.stock("MUG", main=7)
    await shop.stock("BOX", main=9)
    await shop.variant("SET", items={"MUG": 2, "BOX": 1})
    await shop.order("1", SET=3)
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=2, units=9)
    assert await shop.reservations("1") == [(1, "BOX", "main", 3), (1, "MUG", "main", 6)]
    await shop.order("2", SET=4)
    await shop.call(inventory.release, "1")
    assert (await refused(shop, "2")).items == [InsufficientItem(variant_id="SET", sku="SET", requested=4, available=3)]


async def test_i6_a_managed_variant_without_items_is_an_error(shop: Shop) -> None:
    await shop.stock("MUG", main=1)
    await shop.variant("VOID", items={})
    await shop.order("1", MUG=5, VOID=1)
    for rule in (inventory.check, inventory.reserve):
        with pytest.raises(VariantWithoutItems, match="VOID"):
            await shop.call(rule, "1")


async def test_i7_stock_is_spread_over_locations_by_priority(shop: Shop) -> None:
    await shop.stock("MUG", overflow=3, main=3)  # "overflow" is named first, so it is served from first
    await shop.order("1", ("MUG", 2), ("MUG", 3))
    await shop.call(inventory.check, "1")
    await shop.call(inventory.reserve, "1")
    assert await shop.reservations("1") == [
        (1, "MUG", "overflow", 2),
        (2, "MUG", "overflow", 1),
        (2, "MUG", "main", 2),
    ]
    await shop.order("2", MUG=2)
    assert (await refused(shop, "2")).items[0].available == 1


async def test_i7_one_location_that_has_everything_serves_the_whole_order(shop: Shop) -> None:
    await shop.stock("MUG", first=4, second=5, third=9)
    await shop.stock("BOX", first=1, second=1, third=1)
    await shop.order("1", ("MUG", 2), ("BOX", 1), ("MUG", 3))
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=3, units=6)
    assert {location for _, _, location, _ in await shop.reservations("1")} == {"second"}
    await shop.order("2", MUG=3)  # the first location has these
    await shop.call(inventory.reserve, "2")
    assert await shop.reservations("2") == [(1, "MUG", "first", 3)]


async def test_i7_a_location_lacks_what_is_reserved_or_oversold_there(shop: Shop) -> None:
    await shop.stock("MUG", first=5, second=5, third=5)
    await shop.order("1", MUG=1)
    await shop.call(inventory.reserve, "1")
    await shop.sql(
        "UPDATE inventory_levels SET reserved_quantity = 6, oversold = true WHERE location_id = 'second'"
    )  # breaks I2, to keep the test short
    await shop.order("2", MUG=5)
    await shop.call(inventory.reserve, "2")
    assert await shop.reservations("2") == [(1, "MUG", "third", 5)]


async def test_i7_all_parts_of_kits_come_from_one_location_if_it_has_them(shop: Shop) -> None:
    await shop.stock("MUG", first=5, second=4)
    await shop.stock("BOX", first=1, second=2)
    await shop.variant("SET", items={"MUG": 2, "BOX": 1})
    await shop.order("1", SET=2)
    await shop.call(inventory.reserve, "1")
    assert await shop.reservations("1") == [(1, "BOX", "second", 2), (1, "MUG", "second", 4)]


async def test_i7_without_such_a_location_each_item_is_taken_by_priority(shop: Shop) -> None:
    await shop.stock("MUG", first=1, second=3)
    await shop.stock("BOX", first=1)
    await shop.order("1", MUG=3, BOX=1)
    await shop.call(inventory.reserve, "1")
    assert await shop.reservations("1") == [(1, "MUG", "first", 1), (1, "MUG", "second", 2), (2, "BOX", "first", 1)]


async def test_i7_backorders_do_not_keep_an_order_from_one_location(shop: Shop) -> None:
    await shop.stock("MUG", first=1, second=3, third=3)
    await shop.stock("LATER", backorder=True, first=2, second=1, third=0)
    await shop.order("1", LATER=9, MUG=3)
    await shop.call(inventory.reserve, "1")
    assert await shop.reservations("1") == [
        (1, "LATER", "first", 8),
        (1, "LATER", "second", 1),
        (2, "MUG", "second", 3),
    ]
    await shop.call(inventory.release, "1")
    await shop.add_stock("LATER", third=9)  # now the third location has these, too
    await shop.call(inventory.reserve, "1")
    assert {location for _, _, location, _ in await shop.reservations("1")} == {"third"}


async def test_i9_an_oversold_level_has_nothing_available_and_can_be_released(shop: Shop) -> None:
    await shop.stock("MUG", main=5, overflow=1)
    await shop.order("1", MUG=4)
    await shop.call(inventory.reserve, "1")
    await shop.add_stock("MUG", main=-3)
    await shop.sql("UPDATE inventory_levels SET oversold = true WHERE location_id = 'main'")
    await shop.order("2", MUG=2)
    assert (await refused(shop, "2")).items[0].available == 1
    await shop.order("3", MUG=1)
    await shop.call(inventory.reserve, "3")
    assert await shop.reservations("3") == [(1, "MUG", "overflow", 1)]
    await shop.call(inventory.release, "1")
    assert await shop.levels("MUG") == {"main": (2, 0), "overflow": (1, 1)}
    assert await shop.sql("SELECT count(*) FROM inventory_levels WHERE oversold") == [0]


async def test_i9_an_oversold_level_still_accepts_backorders(shop: Shop) -> None:
    await shop.stock("MUG", main=5, backorder=True)
    await shop.order("1", MUG=5)
    await shop.order("2", MUG=1)
    await shop.call(inventory.reserve, "1")
    await shop.add_stock("MUG", main=-3)
    await shop.call(inventory.reserve, "2")
    assert await shop.levels("MUG") == {"main": (2, 6)}


async def test_an_unknown_order_cannot_be_reserved_and_has_nothing_to_release(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.call(inventory.reserve, "1")
    await shop.call(inventory.release, "1")


async def deadlocks(shop: Shop) -> int:
    """Return the number of deadlocks; a connection reports its own when it ends, at the latest."""
    [count] = await shop.sql("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(count)


KINDS: dict[str, dict[str, Any]] = {
    "MUG": {},
    "BOX": {},
    "SET": {"items": {"MUG": 2, "BOX": 1}},
    "MUG-LATER": {"items": {"MUG": 1}, "backorder": True},
    "SERVICE": {"managed": False, "items": {}},
}
IS_FULFILLED = "SELECT EXISTS (SELECT FROM fulfillments WHERE order_id = :id AND cancelled_at IS NULL)"
Lines = list[tuple[str, int]]
shelves = st.fixed_dictionaries({"main": st.integers(0, 5), "overflow": st.integers(0, 5)})
contents = st.lists(st.tuples(st.sampled_from(list(KINDS)), st.integers(1, 3)), min_size=1, max_size=4)
acts = st.tuples(st.sampled_from(["reserve", "fulfill", "cancel", "release"]), st.sampled_from("ABC"))


@settings(max_examples=25, database=None)
@given(shelves, shelves, st.fixed_dictionaries(dict.fromkeys("ABC", contents)), st.lists(acts, min_size=4, max_size=14))
async def test_any_sequence_of_actions_keeps_the_stock_consistent_and_the_check_correct(
    shop: Shop, mugs: dict[str, int], boxes: dict[str, int], orders: dict[str, Lines], story: list[tuple[str, str]]
) -> None:
    await shop.clear()
    for sku, kind in KINDS.items():
        await shop.variant(sku, **kind)
    await shop.add_stock("MUG", **mugs)
    await shop.add_stock("BOX", **boxes)
    for order_id, lines in orders.items():
        await shop.order(order_id, *lines)
    made: dict[str, CreatedFulfillment] = {}
    for act, order_id in story:
        await perform(shop, act, order_id, orders[order_id], made)
        assert await shop.breaches() == []


async def perform(shop: Shop, act: str, order_id: str, lines: Lines, made: dict[str, CreatedFulfillment]) -> None:
    if act == "reserve" and await shop.sql(IS_FULFILLED, id=order_id) == [True]:
        await shop.call(inventory.reserve, order_id)
        assert await shop.reservations(order_id) == []
    elif act == "reserve" and not await shop.reservations(order_id):
        lacking = await short_of(shop, lines)
        assert await found_short(shop, inventory.check, order_id) == lacking
        assert await found_short(shop, inventory.reserve, order_id) == lacking
    elif act == "fulfill":
        with contextlib.suppress(ReservationMissing, InsufficientInventory):
            made[order_id] = await shop.call(fulfillment.create, order_id)
    elif act == "cancel" and order_id in made:
        await shop.call(fulfillment.cancel, made[order_id], order_id)
    elif act == "release":
        await shop.call(inventory.release, order_id)


async def short_of(shop: Shop, lines: Lines) -> list[str]:
    """Return the variants without enough stock, computed in plain Python."""
    items = {sku: KINDS[sku].get("items", {sku: 1}) for sku, _ in lines if not KINDS[sku].get("backorder")}
    wanted: Counter[str] = Counter()
    for sku, units in lines:
        wanted.update({item: units * required for item, required in items.get(sku, {}).items()})
    free = {item: sum(max(0, s - r) for s, r in (await shop.levels(item)).values()) for item in wanted}
    return sorted(sku for sku, parts in items.items() if any(wanted[item] > free[item] for item in parts))


async def found_short(shop: Shop, rule: Callable[..., Awaitable[object]], order_id: str) -> list[str]:
    """Return the SKUs without enough stock according to `check` or `reserve`."""
    try:
        await shop.call(rule, order_id)
    except InsufficientInventory as error:
        return [item.sku for item in error.items]
    return []


@pytest.mark.parametrize("lines", [[("MUG", 2**31 - 1)] * 2, [("KIT", 3_000_000)]], ids=["lines", "kit"])
async def test_more_units_than_a_level_can_count_are_a_permanent_error(
    shop: Shop, lines: list[tuple[str, int]]
) -> None:
    await shop.stock("MUG", backorder=True, main=0)
    await shop.variant("KIT", backorder=True, items={"MUG": 1000})
    await shop.order("1", *lines)
    with pytest.raises(InvalidData, match="22003"):
        await shop.call(inventory.reserve, "1")
    assert await shop.reservations("1") == []
    assert await shop.breaches() == []
