"""Fulfilling orders and cancelling fulfillments: I5, I8, V3, V4, V6."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from commerce import fulfillment, inventory, shipments
from commerce.database import Database
from commerce.errors import (
    AddressIncomplete,
    FulfillmentMissing,
    InsufficientInventory,
    OrderNotFound,
    ReservationMissing,
)
from commerce.messages.orders import InsufficientItem, Label, LabelRequest, Reserved
from commerce.shipments import Address, Shipment
from tests.commerce.shop import Shop
from workflows.engine.policies import DATABASE_STEP

LABEL = Label(shipment_id="shp_1", tracking_number="T1", label_url="https://carrier.example/1.pdf")


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    shop = Shop(database)
    yield shop
    assert await shop.breaches() == []


async def reserved(shop: Shop, order_id: str, *lines: tuple[str, int], **units: int) -> None:
    await shop.order(order_id, *lines, *units.items())
    await shop.call(inventory.reserve, order_id)


async def test_i8_fulfilling_lowers_stock_and_reservation_alike(shop: Shop) -> None:
    await shop.stock("MUG", main=3, overflow=3)
    await reserved(shop, "1", MUG=5)
    made = await shop.call(fulfillment.create, "1")
    assert made.units == 5
    assert made.created
    assert await shop.levels("MUG") == {"main": (0, 0), "overflow": (1, 0)}
    assert await shop.reservations("1") == []
    assert await shop.movements("MUG") == [
        ("main", -3, "fulfillment", made.fulfillment_id),
        ("overflow", -2, "fulfillment", made.fulfillment_id),
    ]


async def test_i8_a_kit_takes_required_times_quantity_of_each_item(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await shop.stock("BOX", main=9)
    await shop.variant("SET", items={"MUG": 2, "BOX": 1})
    await reserved(shop, "1", SET=3, MUG=1)
    assert (await shop.call(fulfillment.create, "1")).units == 10
    assert (await shop.levels("MUG"), await shop.levels("BOX")) == ({"main": (2, 0)}, {"main": (6, 0)})


async def test_i8_stock_reserved_for_other_orders_is_untouched(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await reserved(shop, "1", MUG=2)
    await reserved(shop, "2", MUG=3)
    await shop.call(fulfillment.create, "1")
    assert await shop.levels("MUG") == {"main": (3, 3)}
    await shop.call(fulfillment.create, "2")
    assert await shop.levels("MUG") == {"main": (0, 0)}


async def test_i5_a_backorder_cannot_be_fulfilled_without_stock(shop: Shop) -> None:
    await shop.stock("MUG", main=1, overflow=1, backorder=True)
    await shop.stock("BOX", main=9)
    await reserved(shop, "1", BOX=4, MUG=5)
    with pytest.raises(InsufficientInventory) as error:
        await shop.call(fulfillment.create, "1")
    assert error.value.items == [InsufficientItem(variant_id="MUG", sku="MUG", requested=5, available=2)]
    assert error.value.count == 1
    assert await shop.levels("MUG") == {"main": (1, 4), "overflow": (1, 1)}
    await shop.add_stock("MUG", main=3)
    await shop.call(fulfillment.create, "1")
    assert await shop.levels("MUG") == {"main": (0, 0), "overflow": (0, 0)}


async def test_i5_a_backorder_does_not_take_units_reserved_for_other_variants(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await shop.variant("MUG-LATER", backorder=True, items={"MUG": 1})
    await reserved(shop, "1", MUG=3)
    await shop.order("2", ("MUG-LATER", 4))
    await shop.call(inventory.reserve, "2")
    with pytest.raises(InsufficientInventory) as error:
        await shop.call(fulfillment.create, "2")
    assert [(item.requested, item.available) for item in error.value.items] == [(4, 2)]
    await shop.call(fulfillment.create, "1")
    assert await shop.levels("MUG") == {"main": (2, 4)}


async def test_an_order_of_5000_backordered_lines_is_fulfilled_within_the_time_limit_of_its_step(shop: Shop) -> None:
    await shop.stock("MUG", backorder=True, main=9_000)
    await reserved(shop, "1", *[("MUG", 1)] * 5_000)
    async with asyncio.timeout(DATABASE_STEP.attempt.total_seconds()):
        assert (await shop.call(fulfillment.create, "1")).units == 5_000


async def test_i9_an_oversold_level_serves_the_orders_that_are_fulfilled_first(shop: Shop) -> None:
    await shop.stock("MUG", main=5)
    await reserved(shop, "1", MUG=3)
    await reserved(shop, "2", MUG=2)
    await shop.add_stock("MUG", main=-2)
    await shop.sql("UPDATE inventory_levels SET oversold = true")
    await shop.call(fulfillment.create, "1")
    with pytest.raises(InsufficientInventory) as error:
        await shop.call(fulfillment.create, "2")
    assert [(item.requested, item.available) for item in error.value.items] == [(2, 0)]
    await shop.call(inventory.release, "2")
    assert await shop.levels("MUG") == {"main": (0, 0)}


async def test_i5_unmanaged_variants_are_fulfilled_without_stock(shop: Shop) -> None:
    await shop.variant("SERVICE", managed=False, items={})
    await reserved(shop, "1", SERVICE=2)
    made = await shop.call(fulfillment.create, "1")
    assert (made.units, made.created) == (0, True)
    await shop.call(fulfillment.cancel, made, "1")
    assert await shop.sql("SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL") == [0]


async def test_v3_nothing_is_fulfilled_without_its_reservation(shop: Shop) -> None:
    with pytest.raises(OrderNotFound):
        await shop.call(fulfillment.create, "1")
    await shop.stock("MUG", main=9)
    await shop.stock("BOX", main=9)
    await shop.order("1", MUG=2, BOX=1)
    with pytest.raises(ReservationMissing):
        await shop.call(fulfillment.create, "1")
    await shop.call(inventory.reserve, "1")
    await shop.sql("UPDATE order_lines SET quantity = 3 WHERE sku = 'MUG'")
    with pytest.raises(ReservationMissing):
        await shop.call(fulfillment.create, "1")


async def test_v3_a_kit_must_be_reserved_with_all_its_items(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await shop.stock("BOX", main=9)
    await shop.variant("SET", items={"MUG": 2})
    await reserved(shop, "1", SET=1)
    await shop.sql("INSERT INTO variant_inventory_items VALUES ('SET', 'BOX', 1)")
    with pytest.raises(ReservationMissing):
        await shop.call(fulfillment.create, "1")
    await shop.sql("DELETE FROM variant_inventory_items WHERE variant_id = 'SET'")
    with pytest.raises(ReservationMissing):
        await shop.call(fulfillment.create, "1")


async def test_v3_a_fulfilled_line_leaves_no_reservation_even_if_it_needs_less_now(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await shop.variant("SET", items={"MUG": 3})
    await reserved(shop, "1", SET=2)
    await shop.sql("UPDATE variant_inventory_items SET required_quantity = 2 WHERE variant_id = 'SET'")
    await shop.call(fulfillment.create, "1")
    assert await shop.levels("MUG") == {"main": (3, 0)}


async def test_v4_concurrent_calls_create_one_fulfillment_and_all_return_it(shop: Shop) -> None:
    await shop.stock("MUG", main=9)
    await reserved(shop, "1", MUG=2)
    answers = await asyncio.gather(*(shop.call(fulfillment.create, "1") for _ in range(8)))
    assert len({answer.fulfillment_id for answer in answers}) == 1
    assert sorted(answer.created for answer in answers) == [False] * 7 + [True]
    assert {answer.units for answer in answers} == {2}
    assert await shop.levels("MUG") == {"main": (7, 0)}


async def test_i2_a_fulfilled_order_reserves_nothing_more(shop: Shop) -> None:
    await shop.stock("MUG", main=3, overflow=4)
    await reserved(shop, "1", MUG=5)
    await shop.call(fulfillment.create, "1")
    assert await shop.call(inventory.reserve, "1") == Reserved(reservations=2, units=5, locations=2)
    assert await shop.levels("MUG") == {"main": (0, 0), "overflow": (2, 0)}


async def test_v4_concurrent_changes_of_one_order_take_turns(shop: Shop) -> None:
    for sku in ("MUG", "BOX", "CUP"):
        await shop.stock(sku, main=3, overflow=9)
    await reserved(shop, "1", MUG=5, BOX=5, CUP=5)

    async def act(number: int) -> None:
        if number % 3 == 0:
            await shop.call(inventory.release, "1")
        elif number % 3 == 1:
            await shop.call(inventory.reserve, "1")
        else:
            made = await shop.call(fulfillment.create, "1")
            await shop.call(fulfillment.cancel, made, "1")

    answers = await asyncio.gather(*(act(number) for number in range(30)), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {type(None), ReservationMissing}
    assert await shop.sql("SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL") == [0]


async def test_cancelling_restores_stock_and_reservations_once(shop: Shop) -> None:
    await shop.stock("MUG", main=3, overflow=3)
    await reserved(shop, "1", MUG=5)
    before = (await shop.levels("MUG"), await shop.reservations("1"))
    for _ in range(2):
        made = await shop.call(fulfillment.create, "1")
        for _ in range(2):
            await shop.call(fulfillment.cancel, made, "1")
            assert (await shop.levels("MUG"), await shop.reservations("1")) == before
    put_back = [(location, units) for location, units, reason, _ in await shop.movements("MUG") if reason == "cancel"]
    assert put_back == [("main", 3), ("main", 3), ("overflow", 2), ("overflow", 2)]


async def test_a_fulfillment_that_an_earlier_call_created_is_not_cancelled(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await reserved(shop, "1", MUG=3)
    await shop.call(fulfillment.create, "1")
    found = await shop.call(fulfillment.create, "1")
    await shop.call(fulfillment.cancel, found, "1")
    assert await shop.levels("MUG") == {"main": (0, 0)}


async def test_v6_the_shipment_has_the_address_as_far_as_the_order_has_it(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    facts = {"shipping_name": "Ann", "shipping_country": "United Kingdom", "shipping_city": "Leeds"}
    await shop.order("1", MUG=1, columns=facts)
    with pytest.raises(FulfillmentMissing):
        await shop.call(shipments.load, LabelRequest(order_id="1"))
    await shop.call(inventory.reserve, "1")
    made = await shop.call(fulfillment.create, "1")
    shipment = await shop.call(shipments.load, LabelRequest(order_id="1"))
    recipient = Address(name="Ann", street1="", city="Leeds", zip="", state="", country="GB", phone="")
    assert shipment == Shipment(made.fulfillment_id, order_id="1", number="1", currency="GBP", recipient=recipient)
    assert "Ann" not in repr(shipment)


async def test_v6_the_shipment_has_the_whole_address_and_the_number_that_the_customer_knows(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    facts = {
        "name": "#1001", "shipping_name": "Ann", "shipping_company": "Acme", "shipping_address1": "1 High Street",
        "shipping_address2": "Flat 7", "shipping_city": "Guildford", "shipping_zip": "GU1",
        "shipping_province_name": "Surrey", "shipping_country": "GB", "phone": "020 7946 0000",
    }  # fmt: skip
    await shop.order("5551", MUG=1, columns=facts)
    await shop.call(inventory.reserve, "5551")
    await shop.call(fulfillment.create, "5551")
    shipment = await shop.call(shipments.load, LabelRequest(order_id="5551"))
    assert shipment.number == "#1001"
    assert shipment.recipient == Address(
        "Ann", "1 High Street", "Guildford", "GU1", "Surrey", "GB", "020 7946 0000", street2="Flat 7", company="Acme"
    )
    await shop.sql("UPDATE orders SET shipping_province = 'SRY', shipping_phone = '1'")
    recipient = (await shop.call(shipments.load, LabelRequest(order_id="5551"))).recipient
    assert (recipient.state, recipient.phone) == ("SRY", "1")


@pytest.mark.parametrize(
    ("country", "reason"), [(None, "has no country"), (" ", "has no country"), ("Atlantis", "has no known country")]
)
async def test_v6_an_address_without_a_known_country_is_refused(shop: Shop, country: str | None, reason: str) -> None:
    await shop.stock("MUG", main=3)
    await shop.order("1", MUG=1, columns={"shipping_country": country})
    await shop.call(inventory.reserve, "1")
    await shop.call(fulfillment.create, "1")
    with pytest.raises(AddressIncomplete, match=f"Order 1 cannot be shipped: its address {reason}"):
        await shop.call(shipments.load, LabelRequest(order_id="1"))


async def test_v6_the_label_is_stored_on_the_live_fulfillment(shop: Shop) -> None:
    await shop.stock("MUG", main=3)
    await reserved(shop, "1", MUG=3)
    with pytest.raises(FulfillmentMissing):
        await shop.call(shipments.record_label, LabelRequest(order_id="1"), LABEL)
    made = await shop.call(fulfillment.create, "1")
    await shop.call(shipments.record_label, LabelRequest(order_id="1"), LABEL)
    [stored] = await shop.sql("SELECT shipment_id, tracking_number, label_url FROM fulfillments")
    assert stored == ("shp_1", "T1", "https://carrier.example/1.pdf")
    await shop.call(fulfillment.cancel, made, "1")
    with pytest.raises(FulfillmentMissing):
        await shop.call(shipments.record_label, LabelRequest(order_id="1"), LABEL)
