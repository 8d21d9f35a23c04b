"""What must be true after days of changing orders, worked out from the files that were imported."""

from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.commerce.imports.admin_export import PICKUP
from tests.commerce.imports.admin_order import AdminOrder
from tests.running_shop import RunningShop, carrier_client
from tests.system.days.source import LOCATION, Source, items_of

SHIPPED = """
    SELECT order_id, shipment_id FROM fulfillments WHERE completed_at IS NOT NULL AND cancelled_at IS NULL
"""
UNITS_SHIPPED = """
    SELECT inventory_item_id, sum(quantity)::int
    FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
    WHERE cancelled_at IS NULL AND order_id LIKE :id GROUP BY inventory_item_id
"""
FACTS = ("name", "email", "payment_status", "cancelled_at", "refunded_total", "currency")  # known of all orders
CONTENT = ("fulfillment_status", "shipping_city", "total", "units")  # of an order that we ship, as it was then
COLUMNS = ("id", "fulfillments", "hold_reason", *FACTS, *CONTENT)
ORDERS = f"""
    SELECT id, (SELECT count(*) FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL), hold_reason,
           {", ".join((*FACTS, *CONTENT[:-1]))}, (SELECT sum(quantity)::int FROM order_lines WHERE order_id = orders.id)
    FROM orders
"""
Versions = dict[str, AdminOrder]  # the orders of one file, by id


@dataclass
class Days:
    """The orders of the files that were imported, and those that were shipped meanwhile."""

    versions: list[Versions] = field(default_factory=list)
    shipped: dict[str, list[AdminOrder]] = field(default_factory=dict)  # the versions of which an order may be shipped

    async def note_shipped(self, shop: RunningShop) -> None:
        """Note what was shipped since the last time: it was shipped as it was in one of the last two files."""
        for order_id, _ in await shop.data.sql(SHIPPED):
            if order_id not in self.shipped:
                known = [file[order_id] for file in self.versions[-2:] if order_id in file]
                self.shipped[order_id] = [order for order in known if is_open(order)]


def is_open(order: AdminOrder) -> bool:
    """Return whether an order, as its shop exports it, must be shipped by us."""
    return order.payment == "paid" and order.fulfillment == "unfulfilled" and not order.cancelled


async def violations(shop: RunningShop, days: Days, source: Source) -> list[str]:
    """Return all that is wrong when nothing is left to do."""
    found = [f"audit: {finding}" for finding in await shop.findings()] + await shop.data.breaches()
    stored = {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in await shop.data.sql(ORDERS)}
    shipped = dict(await shop.data.sql(SHIPPED))
    for order_id, order in days.versions[-1].items():
        known = stored.pop(order_id)
        wrong = list(_differences(order, known, FACTS))
        if order_id in shipped:
            wrong += [each async for each in _wrong_shipment(shop, order_id, shipped[order_id], days.shipped[order_id])]
        else:
            wrong += _differences(order, known, CONTENT)
            wrong += ["is not shipped"] if is_open(order) else []
            if (live := (await shop.labels(order.name))["live"]) or shop.mails("order-shipped", order_id):
                wrong.append(f"is not shipped, but has {live} labels or a mail")
        if (known["fulfillment_status"] == "fulfilled", known["fulfillments"]) != (order_id in shipped,) * 2:
            wrong.append(f"is {known['fulfillment_status']} with {known['fulfillments']} fulfillments")
        found += [f"{order_id}: {each}; {known}" for each in wrong]
    found += [f"{order_id} is of no file" for order_id in stored]
    units_shipped = dict(await shop.data.sql(UNITS_SHIPPED, id="%"))
    for item, units in source.on_shelves.items():
        left = units - units_shipped.get(item, 0)
        if (levels := await shop.data.levels(item)) != {LOCATION: (left, 0)}:
            found.append(f"{item}: {left} are on the shelves, {levels} in stock")
    return found


async def _wrong_shipment(
    shop: RunningShop, order_id: str, shipment_id: str | None, open_versions: Sequence[AdminOrder]
) -> AsyncIterator[str]:
    """Check that an order was shipped as one of its open versions, with one label if it needs one, and one mail."""
    units = dict(await shop.data.sql(UNITS_SHIPPED, id=order_id))
    label = await _label(shop, shipment_id) if shipment_id else None
    address = label["to_address"]["city"] if label else None
    same = [order for order in open_versions if items_of(order.lines) == units and _label_city(order) == address]
    if not same:
        yield f"is shipped, but never was open with {units} to {address}: {open_versions}"
    else:
        counts = await shop.labels(same[0].name)
        if counts["live"] != bool(label):
            yield f"has {counts['live']} live labels"
        elif label and counts["labels"] and label["tracking_code"] not in _live_codes(counts):
            yield f"has another label than {label['tracking_code']}"
        if len(shop.mails("order-shipped", order_id)) != bool(same[0].email):
            yield "has not one mail"


async def _label(shop: RunningShop, shipment_id: str) -> dict[str, Any]:
    async with carrier_client(shop.carrier_url) as http:
        shipment: dict[str, Any] = (await http.get(f"/v2/shipments/{shipment_id}")).json()
    return shipment


def _live_codes(counts: dict[str, Any]) -> list[str]:
    return [label["tracking_code"] for label in counts["labels"] if label["refund_status"] is None]


def _label_city(order: AdminOrder) -> str | None:
    is_sent = order.method not in ("", PICKUP) and any(line.ships for line in order.lines)
    return order.address["City"] if is_sent else None


def _differences(order: AdminOrder, stored: Mapping[str, Any], columns: Iterable[str]) -> Iterator[str]:
    """Compare columns with those of the order in the last file."""
    wanted = order.stored()
    for column in columns:
        if stored[column] != wanted[column]:
            yield f"{column} is {stored[column]} instead of {wanted[column]}"
