"""Orders whose goods come from several locations: one fulfillment and one label for each (V15)."""

import csv
import io

import pytest

from commerce import fulfillment, inventory, locations, orders, shipments
from commerce.errors import BadInput, FulfillmentMissing
from commerce.fulfillment_export import csv_text, load_page
from commerce.messages.orders import CreatedFulfillment, Label, LabelRequest
from commerce.shipments import Address
from tests.commerce.shop import Shop

LIVE = """
    SELECT from_location_id, position, required_units,
           (SELECT sum(quantity) FROM fulfillment_items WHERE fulfillment_id = fulfillments.id)
    FROM fulfillments WHERE order_id = :id AND cancelled_at IS NULL ORDER BY position
"""
DEFAULT = Address("Shop", "1 Warehouse Way", "London", "N1 9GU", "", "GB", "+44 20 1")


async def split(shop: Shop, order_id: str = "1", *lines: tuple[str, int]) -> CreatedFulfillment:
    """Create and fulfill an order; without lines, one whose goods are at two locations."""
    if not lines:
        await shop.stock("MUG", harbour=3)
        await shop.stock("BOX", workshop=2)
        lines = (("BOX", 1), ("MUG", 2))
    await shop.order(order_id, *lines)
    await shop.call(inventory.reserve, order_id)
    return await shop.call(fulfillment.create, order_id, per_location=True)


async def label(shop: Shop, made: CreatedFulfillment, order_id: str = "1") -> None:
    """Store a label on each part: T1, T2 and so on."""
    for number, part in enumerate(made.parts, 1):
        request = LabelRequest(order_id=order_id, fulfillment_id=part.fulfillment_id)
        text = Label(shipment_id=f"s{number}", tracking_number=f"T{number}", label_url="u")
        await shop.call(shipments.record_label, request, text)


async def test_an_order_has_a_fulfillment_at_each_of_its_locations(shop: Shop) -> None:
    made = await split(shop)
    assert made.created and made.units == 3 and made.summary() == "3 units taken from 2 locations"
    assert [part.needs_label for part in made.parts] == [True, True]
    assert made.fulfillment_id == made.parts[0].fulfillment_id
    assert await shop.sql(LIVE, id="1") == [("harbour", 1, 3, 2), ("workshop", 2, 0, 1)]
    again = await shop.call(fulfillment.create, "1", per_location=True)  # (V4)
    assert again == made.model_copy(update={"created": False})
    assert (await shop.call(inventory.reserve, "1")).locations == 2
    assert await shop.breaches() == []


async def test_all_fulfillments_are_cancelled_together_and_only_once(shop: Shop) -> None:
    made = await split(shop)
    for _ in range(2):
        await shop.call(fulfillment.cancel, made, "1")
        assert await shop.sql(LIVE, id="1") == []
        assert await shop.reservations("1") == [(1, "BOX", "workshop", 1), (2, "MUG", "harbour", 2)]
        assert await shop.levels("MUG") == {"harbour": (3, 2)}
        assert await shop.breaches() == []
    await shop.call(fulfillment.create, "1", per_location=True)
    assert await shop.levels("BOX") == {"workshop": (1, 0)}
    assert await shop.breaches() == []


async def test_goods_at_one_location_have_one_fulfillment_there(shop: Shop) -> None:
    await shop.stock("MUG", harbour=3)
    made = await split(shop, "1", ("MUG", 2))
    assert made.parts == []
    assert await shop.sql(LIVE, id="1") == [("harbour", 1, 2, 2)]


async def test_an_older_run_has_one_fulfillment_for_all_locations(shop: Shop) -> None:
    await shop.stock("MUG", harbour=1, workshop=1)
    await shop.order("1", MUG=2)
    await shop.call(inventory.reserve, "1")
    made = await shop.call(fulfillment.create, "1")
    assert made.parts == []
    assert await shop.sql(LIVE, id="1") == [(None, 1, 2, 2)]
    await shop.call(fulfillment.cancel, made, "1")
    assert await shop.levels("MUG") == {"harbour": (1, 1), "workshop": (1, 1)}
    assert await shop.breaches() == []


async def test_lines_without_stock_go_with_the_first_fulfillment(shop: Shop) -> None:
    """Whether a fulfillment needs a label depends on the lines that go with it."""
    await shop.stock("MUG", harbour=3)
    await shop.stock("BOX", workshop=2)
    await shop.variant("SERVICE", managed=False, items={})
    lines = (("BOX", 1), ("MUG", 2), ("SERVICE", 1))

    async def labels(order_id: str, *digital: str) -> list[bool]:
        await shop.order(order_id, *lines)
        await shop.sql(
            "UPDATE order_lines SET requires_shipping = false WHERE order_id = :id AND sku = ANY(:skus)",
            id=order_id,
            skus=list(digital),
        )
        await shop.call(inventory.reserve, order_id)
        made = await shop.call(fulfillment.create, order_id, per_location=True)
        await shop.call(fulfillment.cancel, made, order_id)
        await shop.call(inventory.release, order_id)
        return [part.needs_label for part in made.parts]

    assert await labels("1") == [True, True]
    assert await labels("2", "MUG") == [True, True]  # the service goes with it
    assert await labels("3", "MUG", "SERVICE") == [False, True]
    assert await labels("4", "BOX") == [True, False]
    assert await labels("5", "BOX", "MUG", "SERVICE") == [False, False]


async def test_each_fulfillment_has_its_own_label(shop: Shop) -> None:
    made = await split(shop)
    await label(shop, made)
    done = await shop.call(orders.complete, "1")
    ids = [part.fulfillment_id for part in made.parts]
    assert (done.fulfillment_id, done.fulfillment_ids) == (ids[0], ids)
    assert (done.tracking_number, done.tracking_numbers) == ("T1", ["T1", "T2"])
    [(_, _, data)] = await shop.events()
    assert (data["fulfillment_id"], data["fulfillment_ids"]) == (ids[0], ids)
    assert (await shop.call(orders.validate, "1")).fulfilled == done  # (V5)
    assert await shop.audit() == []


async def test_no_label_is_stored_on_a_fulfillment_that_is_not_live(shop: Shop) -> None:
    made = await split(shop)
    request = LabelRequest(order_id="1", fulfillment_id=made.parts[1].fulfillment_id)
    await shop.call(fulfillment.cancel, made, "1")
    with pytest.raises(FulfillmentMissing):
        await label(shop, made)
    with pytest.raises(FulfillmentMissing):
        await shop.call(shipments.load, request)


async def test_parts_of_a_kit_can_lie_at_different_locations(shop: Shop) -> None:
    await shop.stock("MUG", harbour=9)
    await shop.stock("BOX", workshop=9)
    await shop.variant("SET", items={"MUG": 2, "BOX": 1})
    made = await split(shop, "1", ("SET", 3))
    assert await shop.sql(LIVE, id="1") == [("harbour", 1, 9, 6), ("workshop", 2, 0, 3)]
    await label(shop, made)
    await shop.call(orders.complete, "1")
    assert await shop.audit() == []
    assert await export(shop) == [("SET", "0", "harbour", "T1"), ("SET", "3", "workshop", "T2")]


async def test_an_exported_unit_counts_in_the_parcel_that_completes_it(shop: Shop) -> None:
    await shop.stock("MUG", harbour=5, workshop=9)
    await shop.stock("BOX", harbour=1)
    await shop.variant("PAIR", items={"MUG": 2})
    await shop.variant("SERVICE", managed=False, items={})
    made = await split(shop, "1", ("PAIR", 3), ("SERVICE", 2), ("BOX", 1))
    await label(shop, made)
    await shop.call(orders.complete, "1")
    assert await export(shop) == [
        ("PAIR", "2", "harbour", "T1"),
        ("SERVICE", "2", "", "T1"),
        ("BOX", "1", "harbour", "T1"),
        ("PAIR", "1", "workshop", "T2"),
    ]


async def export(shop: Shop) -> list[tuple[str, str, str, str]]:
    """Return the exported rows: SKU, quantity, location and tracking number."""
    page = await shop.call(load_page, 0)
    rows = csv.DictReader(io.StringIO(csv_text(page.rows, "shopify"), newline=""))
    columns = ("Line: SKU", "Line: Quantity", "Fulfillment: Location", "Fulfillment: Tracking Number")
    return [(row[columns[0]], row[columns[1]], row[columns[2]], row[columns[3]]) for row in rows]


async def test_the_audit_finds_a_missing_fulfillment(shop: Shop) -> None:
    made = await split(shop)
    await shop.call(orders.complete, "1")
    assert await shop.audit() == []
    second = made.model_copy(update={"parts": made.parts[1:]})
    await shop.sql("UPDATE fulfillments SET position = 3 WHERE position = 2")
    assert [finding.rule for finding in await shop.audit()] == ["fulfilled-order-has-one-fulfillment"]
    await shop.call(fulfillment.cancel, second, "1")
    await shop.call(inventory.release, "1")
    assert [(finding.rule, finding.detail) for finding in await shop.audit()] == [
        ("fulfillment-is-complete", "needed 3 units, but took 2")
    ]


async def test_a_location_has_one_live_fulfillment_of_an_order(shop: Shop) -> None:
    await split(shop)
    for location in ("'harbour'", "NULL"):
        insert = f"INSERT INTO fulfillments (order_id, from_location_id) VALUES ('1', {location})"
        if location == "NULL":
            await shop.sql(insert)
        with pytest.raises(Exception, match="23505"):
            await shop.sql(insert)


async def test_a_parcel_is_sent_from_the_address_of_its_location(shop: Shop) -> None:
    made = await split(shop)
    address = {"street1": "2 Quay", "city": "Hull", "zip": "HU1", "country": "England", "company": "Mugs Ltd"}
    stored = await shop.call(locations.change, "harbour", address | {"priority": 7})
    assert (stored.country, stored.priority) == ("GB", 7)
    first, second = [
        await shop.call(shipments.load, LabelRequest(order_id="1", fulfillment_id=part.fulfillment_id))
        for part in made.parts
    ]
    assert second.sender is None and second.sender_or(DEFAULT) == DEFAULT
    assert first.sender_or(DEFAULT) == Address(
        "Shop", "2 Quay", "Hull", "HU1", "", "GB", DEFAULT.phone, company="Mugs Ltd"
    )
    await shop.call(locations.change, "harbour", {"sender_name": "Harbour", "phone": "+44 1"})
    sender = (await shop.call(shipments.load, LabelRequest(order_id="1"))).sender
    assert sender is not None and (sender.name, sender.phone) == ("Harbour", "+44 1")


async def test_an_address_of_a_location_is_complete_or_absent(shop: Shop) -> None:
    await shop.stock("MUG", harbour=3, workshop=1)
    for changes, field in [
        ({"street1": "2 Quay", "city": "Hull"}, "country"),
        ({"phone": "1"}, "street1"),
        ({"street1": "2 Quay", "city": "Hull", "country": "Atlantis"}, "country"),
    ]:
        with pytest.raises(BadInput) as error:
            await shop.call(locations.change, "harbour", changes)
        assert error.value.fields[0].field == field
    with pytest.raises(BadInput, match="no such location"):
        await shop.call(locations.change, "elsewhere", {"priority": 1})
    await shop.call(locations.change, "harbour", {"street1": "2 Quay", "city": "Hull", "country": "GB"})
    await shop.call(locations.change, "harbour", {"priority": 9})
    assert [(place.name, place.street1) for place in await shop.call(locations.list_locations)] == [
        ("workshop", None),
        ("harbour", "2 Quay"),
    ]
    await shop.call(locations.change, "harbour", dict.fromkeys(locations.ADDRESS))
    assert (await shop.call(locations.list_locations))[1].street1 is None
