"""A week of real orders, through the rules one after the other and through the whole chain with many at once."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

from commerce import fulfillment, inventory, orders
from commerce.database import Database
from commerce.errors import InsufficientInventory
from commerce.imports import import_inventory, import_orders
from commerce.messages.orders import OrderResult
from tests.commerce.shop import Shop
from tests.paths import SHARED_DATA
from tests.running_shop import RunningShop, carrier_client, running_shop

DATA = SHARED_DATA
ORDERS, INVENTORY = SHARED_DATA / "week-orders.csv.gz", DATA / "week-inventory.csv.gz"
pytestmark = pytest.mark.skipif(not ORDERS.exists(), reason=f"{ORDERS} is missing")

AT_ONCE = 30
FULFILLED, REFUSED = 560, 73  # one after the other, by arrival
SHIPPED, LEFT = 141_835, 55_387  # units
ARRIVALS = "SELECT id FROM orders ORDER BY created_at, id"
STOCK = "SELECT sum(stocked_quantity), sum(reserved_quantity) FROM inventory_levels"
TAKEN = """
    SELECT sum(quantity) FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
    WHERE cancelled_at IS NULL
"""
ASKED = """
    SELECT sum(quantity) FROM order_lines JOIN orders ON orders.id = order_id WHERE fulfillment_status = 'fulfilled'
"""
TO_TELL = "SELECT id FROM orders WHERE fulfillment_status = 'fulfilled' AND email <> ''"
TO_LABEL = "SELECT id FROM orders WHERE fulfillment_status = 'fulfilled' AND shipping_method <> ''"
TRACES = """
    SELECT (SELECT array_agg(id || ' ' || fulfillment_status ORDER BY id) FROM orders),
           (SELECT array_agg(key || ' ' || status || ' ' || attempts ORDER BY key) FROM notifications),
           (SELECT count(*) FROM fulfillments), (SELECT count(*) FROM stock_movements),
           (SELECT count(*) FROM outbox_events), (SELECT count(*) FROM reservations)
"""


async def take_in(database: Database) -> None:
    for report in (
        await import_inventory(database, [INVENTORY]),
        await import_orders(database, [ORDERS], currency="GBP"),
    ):
        assert report.bad == []


async def test_one_at_a_time_in_order_of_arrival(database: Database) -> None:
    await take_in(database)
    shop = Shop(database)
    ends = [await handle(shop, order_id) for order_id in await shop.sql(ARRIVALS)]
    assert (ends.count(True), ends.count(False)) == (FULFILLED, REFUSED)
    assert await shop.sql(TAKEN) == await shop.sql(ASKED) == [SHIPPED]
    assert await shop.sql(STOCK) == [(LEFT, 0)]
    assert await shop.breaches() == []


async def handle(shop: Shop, order_id: str) -> bool:
    """Do with an order what its process does, as far as the rules go; tell whether it is fulfilled."""
    await shop.call(orders.validate, order_id)
    try:
        await shop.call(inventory.check, order_id)
    except InsufficientInventory:
        return False
    await shop.call(inventory.reserve, order_id)
    await shop.call(fulfillment.create, order_id)
    await shop.call(orders.complete, order_id)
    return True


@pytest.fixture
async def floor_of_the_week(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    noon = f"Etc/GMT{datetime.now(UTC).hour - 12:+d}"  # refusals are told once a day, and it must not end meanwhile
    async with running_shop(tmp_path, database_url, client, COMMERCE_TIMEZONE=noon) as made, made.worker():
        await take_in(made.database)
        yield made


@pytest.mark.timeout(600)  # it has some 700 runs to do
async def test_many_at_once_and_every_eighth_again(floor_of_the_week: RunningShop) -> None:
    shop = floor_of_the_week
    order_ids = await shop.data.sql(ARRIVALS)
    first = await process_all(shop, order_ids)
    assert {result.status for result in first.values()} == {"fulfilled", "insufficient_inventory"}
    await check(shop, first)

    traces = await traces_of(shop)
    again = await process_all(shop, order_ids[::8])
    assert {result.order_id for result in again.values() if result != first[result.order_id]} <= short(first)
    assert short(again) == short(first) & again.keys()  # what is short may be shorter of stock by now
    assert await traces_of(shop) == traces


async def process_all(shop: RunningShop, order_ids: list[str]) -> dict[str, OrderResult]:
    gate = asyncio.Semaphore(AT_ONCE)

    async def process(order_id: str) -> OrderResult:
        async with gate:
            return await shop.process(order_id)

    results = await asyncio.gather(*(process(order_id) for order_id in order_ids))
    return {result.order_id: result for result in results}


async def check(shop: RunningShop, results: dict[str, OrderResult]) -> None:
    """Everybody has got what they should, once, and nothing is lost."""
    fulfilled = set(results) - short(results)
    told = sorted(str(mail["X-Commerce-Key"]).removeprefix("order-shipped/") for mail in shop.mails("order-shipped"))
    assert told == sorted(await shop.data.sql(TO_TELL))
    assert set(told) == {order_id for order_id in fulfilled if results[order_id].notification_sent}

    labelled = await shop.data.sql(TO_LABEL)
    assert set(labelled) == {order_id for order_id in fulfilled if results[order_id].tracking_number}
    assert len({results[order_id].tracking_number for order_id in labelled}) == len(labelled)
    assert await sold(shop) == {"shipments": len(labelled), "bought": len(labelled), "live": len(labelled)}

    [taken], [asked], [(left, held)] = [await shop.data.sql(query) for query in (TAKEN, ASKED, STOCK)]
    assert taken == asked and taken + left == SHIPPED + LEFT and held == 0
    assert await shop.findings() == []


def short(results: dict[str, OrderResult]) -> set[str]:
    return {order_id for order_id, result in results.items() if result.status == "insufficient_inventory"}


async def traces_of(shop: RunningShop) -> Any:
    """Return everything that a second processing must not change."""
    mails = sorted(path.name for path in shop.mail_dir.iterdir())
    return await shop.data.sql(TRACES), await shop.data.sql(STOCK), mails, await sold(shop)


async def sold(shop: RunningShop) -> dict[str, int]:
    """Return what the carrier counts over all orders."""
    async with carrier_client(shop.carrier_url) as http:
        counts = (await http.get("/trial/labels")).json()
    return {name: counts[name] for name in ("shipments", "bought", "live")}
