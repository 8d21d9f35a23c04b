"""The sample shop can be imported completely, is always the same, and contains every special case."""

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from commerce import fulfillment, imports, inventory
from commerce.database import Database
from commerce.errors import InsufficientInventory
from commerce.imports import ImportReport
from starter.demo.sample_goods import BACKORDER, SCARCE, SPREAD, UNTRACKED
from starter.demo.sample_orders import BIG_LINES, CASES, ORDERS
from starter.demo.sample_shop import SampleShop, write_sample_shop
from starter.devstack.carrier.server import REFUSED_COUNTRY
from tests.commerce.shop import Shop


@dataclass
class Taken:
    """The sample shop in a database, with its import reports."""

    sample: SampleShop
    shop: Shop
    stock: ImportReport
    orders: ImportReport


async def take_in(sample: SampleShop, database: Database) -> Taken:
    stock = await imports.import_inventory(database, [sample.inventory])
    orders = await imports.import_orders(database, [sample.orders], currency="GBP")
    return Taken(sample, Shop(database), stock, orders)


@pytest.fixture
async def taken(tmp_path: Path, database: Database) -> AsyncIterator[Taken]:
    yield await take_in(write_sample_shop(tmp_path), database)


def test_the_same_seed_makes_the_same_files(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two", "other")]
    for folder in folders:
        folder.mkdir()
    one, two, other = (write_sample_shop(f, seed) for f, seed in zip(folders, (1, 1, 2), strict=True))
    assert one.orders.read_bytes() == two.orders.read_bytes()
    assert one.inventory.read_bytes() == two.inventory.read_bytes()
    assert one.orders.read_bytes() != other.orders.read_bytes()


async def test_it_is_imported_without_a_bad_row(taken: Taken) -> None:
    assert (taken.stock.bad, taken.orders.bad) == ([], [])
    assert taken.orders.taken == len(taken.sample.order_ids) == ORDERS
    assert await taken.shop.sql("SELECT id FROM orders ORDER BY created_at") == taken.sample.order_ids
    assert await taken.shop.sql("SELECT count(*) FROM order_lines WHERE variant_id IS NULL") == [0]
    assert await taken.shop.sql("SELECT name FROM locations ORDER BY priority") == ["Workshop", "Harbour Store"]
    [(products, variants)] = await taken.shop.sql("SELECT count(DISTINCT product_id), count(*) FROM variants")
    assert 35 <= products <= 45 < variants < 100
    assert await taken.shop.breaches() == []


async def test_importing_it_twice_changes_nothing(taken: Taken) -> None:
    again = await take_in(taken.sample, taken.shop.database)
    assert (again.stock.taken, again.orders.taken) == (0, 0)
    assert (again.stock.bad, again.orders.bad) == ([], [])


async def test_e_mail_addresses_are_examples_and_shipping_addresses_complete(taken: Taken) -> None:
    shop = taken.shop
    assert await shop.sql("SELECT id FROM orders WHERE email NOT LIKE '%@customer.example'") == []
    lacking = """SELECT id FROM orders WHERE shipping_method IS NOT NULL
                 AND num_nulls(shipping_name, shipping_address1, shipping_city, shipping_zip, shipping_country) > 0"""
    assert await shop.sql(lacking) == []


async def test_it_has_what_every_shop_has(taken: Taken) -> None:
    shop = taken.shop
    [(guests, picked_up)] = await shop.sql(
        "SELECT count(*) FILTER (WHERE email IS NULL), count(*) FILTER (WHERE shipping_method IS NULL) FROM orders"
    )
    assert guests >= 5
    assert picked_up >= 10
    repeated = "SELECT order_id FROM order_lines GROUP BY order_id HAVING count(*) > count(DISTINCT sku)"
    assert len(await shop.sql(repeated)) >= 10
    assert await shop.sql("SELECT sku FROM variants WHERE allow_backorder") == [BACKORDER]
    assert await shop.sql("SELECT sku FROM variants WHERE NOT manage_inventory") == [UNTRACKED]


async def test_it_has_each_special_case(taken: Taken) -> None:
    shop, cases = taken.shop, taken.sample.cases
    assert set(cases) == set(CASES.values())
    assert await shop.order_columns(cases["unpaid"], "payment_status", "paid_at") == ("awaiting", None)
    assert (await shop.order_columns(cases["cancelled"], "cancelled_at"))[0] is not None
    assert await shop.order_columns(cases["fulfilled elsewhere"], "fulfillment_status") == ("fulfilled_elsewhere",)
    assert await shop.order_columns(cases["refused by carrier"], "shipping_country") == (REFUSED_COUNTRY,)
    assert await shop.order_columns(cases["not shipped"], "shipping_method") == (None,)
    lines = "SELECT count(*) FROM order_lines WHERE order_id = :id"
    assert await shop.sql(lines, id=cases["big"]) == [BIG_LINES]
    assert sorted((await shop.levels(SPREAD)).values()) == [(3, 0), (3, 0)]
    assert await shop.sql("SELECT quantity FROM order_lines WHERE order_id = :id", id=cases["spread"]) == [5]
    not_processed = {cases["unpaid"], cases["cancelled"], cases["fulfilled elsewhere"]}
    assert set(taken.sample.order_ids) - set(taken.sample.expected) == not_processed


async def process(shop: Shop, order_id: str) -> str:
    """Return how an order ends, leaving the carrier out."""
    try:
        await shop.call(inventory.reserve, order_id)
    except InsufficientInventory:
        return "refused"
    try:
        await shop.call(fulfillment.create, order_id)
    except InsufficientInventory:
        await shop.call(inventory.release, order_id)
        return "refused"
    return "fulfilled"


async def test_in_order_of_arrival_a_tenth_of_the_orders_is_refused_for_scarce_items(taken: Taken) -> None:
    shop, sample = taken.shop, taken.sample
    expected = {order_id: how for order_id, how in sample.expected.items() if how not in ("undone", "waiting")}
    ends = {order_id: await process(shop, order_id) for order_id in expected}
    assert ends == {order_id: how or ends[order_id] for order_id, how in expected.items()}
    assert 0.08 <= Counter(ends.values())["refused"] / len(ends) <= 0.13
    left = "SELECT inventory_item_id FROM inventory_levels GROUP BY 1 HAVING sum(stocked_quantity) = 0"
    assert len(set(await shop.sql(left)) & set(SCARCE)) >= 3
    assert await shop.breaches() == []
