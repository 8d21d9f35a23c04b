"""Goods taken from the shelves for an order, put back when that is undone, and what a carrier must know of them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import inventory, orders
from commerce.errors import (
    AddressIncomplete,
    BadInput,
    FulfillmentMissing,
    OrderNotFound,
    QuantityAboveUnfulfilled,
    ReservationMissing,
)
from commerce.messages.base import FieldError
from commerce.messages.orders import MAX_INSUFFICIENT_ITEMS, CreatedFulfillment, Label

LIVE = text("""
    SELECT CAST(fulfillment.id AS text) AS id, CAST(coalesce(sum(item.quantity), 0) AS bigint) AS units
    FROM fulfillments AS fulfillment LEFT JOIN fulfillment_items AS item ON item.fulfillment_id = fulfillment.id
    WHERE order_id = :order_id AND cancelled_at IS NULL
    GROUP BY fulfillment.id
""")
# No other live fulfillment can exist, so all of a line is unfulfilled.
ABOVE = text("""
    SELECT asked.id, asked.quantity AS requested, coalesce(line.quantity, 0) AS unfulfilled
    FROM (SELECT CAST(key AS bigint) AS id, CAST(value AS bigint) AS quantity
          FROM jsonb_each_text(CAST(:quantities AS jsonb))) AS asked
    LEFT JOIN order_lines AS line ON line.id = asked.id AND line.order_id = :order_id
    WHERE asked.quantity > coalesce(line.quantity, 0)
    ORDER BY asked.id LIMIT 1
""")
# The units asked per line; null: none of it.
ASKED = """
    asked AS (
        SELECT id AS order_line_id, variant_id, quantity AS ordered,
               CASE WHEN CAST(:quantities AS jsonb) IS NULL THEN quantity
                    ELSE CAST(CAST(:quantities AS jsonb) ->> CAST(id AS text) AS bigint) END AS units
        FROM order_lines WHERE order_id = :order_id
    )
"""
NOT_RESERVED = text(f"""
    WITH {ASKED}
    SELECT EXISTS (
        SELECT FROM asked
        JOIN variants AS variant ON variant.id = asked.variant_id AND variant.manage_inventory
        LEFT JOIN variant_inventory_items AS part ON part.variant_id = variant.id
        WHERE units > 0 AND units * coalesce(part.required_quantity, 1) > (
            SELECT coalesce(sum(quantity), 0) FROM reservations AS held
            WHERE held.order_line_id = asked.order_line_id AND held.inventory_item_id = part.inventory_item_id))
""")  # noqa: S608 - our own constants
# What that takes from each reservation in `held`, by priority of location. A line asked for whole takes all that is
# held for it, so that nothing stays held for a fulfilled line.
TAKING = f"""{ASKED}, taking AS (
        SELECT held.*, variant_id, coalesce(required_quantity, 1) AS required_quantity,
               CASE WHEN units = ordered THEN quantity ELSE least(quantity, greatest(0,
                   coalesce(units, 0) * coalesce(required_quantity, 1) + quantity - sum(quantity) OVER (
                       PARTITION BY order_line_id, inventory_item_id ORDER BY priority, location_id)
               )) END AS taken
        FROM held
        JOIN asked USING (order_line_id)
        JOIN locations AS location ON location.id = held.location_id
        LEFT JOIN variant_inventory_items AS part USING (variant_id, inventory_item_id)
    )
"""  # noqa: S608 - our own constants
# A reservation may exceed what is there: by backorder (I5), or when a sync lowered it (I9). What is backordered must
# not take what is promised to others who do not backorder.
SHORT = text(f"""
    WITH held AS (
        SELECT order_line_id, inventory_item_id, location_id, quantity FROM reservations WHERE order_id = :order_id
    ), {TAKING}, promised AS (
        SELECT inventory_item_id, location_id, sum(other.quantity) AS quantity
        FROM (SELECT DISTINCT inventory_item_id, location_id FROM taking JOIN variants AS variant
              ON variant.id = variant_id AND allow_backorder WHERE taken > 0) AS level
        JOIN reservations AS other USING (inventory_item_id, location_id)
        JOIN order_lines AS line ON line.id = other.order_line_id
        JOIN variants AS firm ON firm.id = line.variant_id AND NOT firm.allow_backorder
        GROUP BY inventory_item_id, location_id
    ), shelf AS (
        SELECT variant.id AS variant_id, variant.sku, inventory_item_id, location_id, required_quantity, taken,
               stocked_quantity - CASE WHEN allow_backorder THEN coalesce(promised.quantity, 0) ELSE 0 END AS there,
               sum(taken) OVER (PARTITION BY inventory_item_id, location_id, allow_backorder) AS wanted
        FROM taking JOIN variants AS variant ON variant.id = variant_id
        JOIN inventory_levels AS level USING (inventory_item_id, location_id)
        LEFT JOIN promised USING (inventory_item_id, location_id)
        WHERE taken > 0
    ), part AS (
        SELECT variant_id, sku, inventory_item_id, required_quantity, bool_or(wanted > there) AS short,
               least(sum(taken), greatest(min(there), 0)) AS there
        FROM shelf GROUP BY variant_id, sku, inventory_item_id, location_id, required_quantity
    ), item AS (
        SELECT variant_id, sku, bool_or(short) AS short, div(sum(there), required_quantity) AS available
        FROM part GROUP BY variant_id, sku, inventory_item_id, required_quantity
    )
    SELECT variant_id, sku, CAST(min(available) AS bigint) AS available, count(*) OVER () AS short,
           (SELECT CAST(sum(units) AS bigint) FROM asked WHERE asked.variant_id = item.variant_id) AS requested
    FROM item GROUP BY variant_id, sku HAVING bool_or(short)
    ORDER BY sku LIMIT {MAX_INSUFFICIENT_ITEMS}
""")  # noqa: S608 - our own constants
TAKE = text(f"""
    WITH held AS (
        DELETE FROM reservations WHERE order_id = :order_id
        RETURNING order_line_id, inventory_item_id, location_id, quantity
    ), {TAKING}, kept AS (
        INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity - taken
        FROM taking WHERE quantity > taken
    ), made AS (
        INSERT INTO fulfillments (order_id) VALUES (:order_id) RETURNING id
    ), items AS (
        INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT made.id, order_line_id, inventory_item_id, location_id, taken FROM taking, made WHERE taken > 0
    ), total AS (
        SELECT inventory_item_id, location_id, sum(taken) AS quantity
        FROM taking WHERE taken > 0 GROUP BY inventory_item_id, location_id
    ), lowered AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity - total.quantity, reserved_quantity = reserved_quantity - total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, -quantity, 'fulfillment', CAST(made.id AS text), clock_timestamp()
        FROM total, made
    )
    SELECT CAST(id AS text) AS id, (SELECT CAST(coalesce(sum(taken), 0) AS bigint) FROM taking) AS units FROM made
""")  # noqa: S608 - our own constants
LOCK_TAKEN = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels WHERE (inventory_item_id, location_id) IN (
            SELECT inventory_item_id, location_id FROM fulfillment_items WHERE fulfillment_id = CAST(:id AS uuid))
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")
CANCEL = text("""
    WITH dead AS (
        UPDATE fulfillments SET cancelled_at = clock_timestamp()
        WHERE id = CAST(:id AS uuid) AND order_id = :order_id AND cancelled_at IS NULL RETURNING id
    ), item AS (
        SELECT item.* FROM fulfillment_items AS item JOIN dead ON dead.id = item.fulfillment_id
    ), total AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS quantity
        FROM item GROUP BY inventory_item_id, location_id
    ), raised AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity + total.quantity, reserved_quantity = reserved_quantity + total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'cancel', :id, clock_timestamp() FROM total
    )
    INSERT INTO reservations AS held (order_id, order_line_id, inventory_item_id, location_id, quantity)
    SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity FROM item
    ON CONFLICT (order_line_id, inventory_item_id, location_id)
    DO UPDATE SET quantity = held.quantity + excluded.quantity
""")
SHIPMENT = text("""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, order_id, currency,
           coalesce(shipping_name, '') AS name, coalesce(shipping_address1, '') AS street1,
           coalesce(shipping_city, '') AS city, coalesce(shipping_zip, '') AS zip,
           coalesce(shipping_province, '') AS state, coalesce(btrim(shipping_country), '') AS country,
           coalesce(shipping_phone, '') AS phone
    FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
    WHERE order_id = :order_id AND fulfillment.cancelled_at IS NULL
""")
RECORD_LABEL = text("""
    UPDATE fulfillments SET shipment_id = :shipment_id, tracking_number = :tracking_number, label_url = :label_url
    WHERE order_id = :order_id AND cancelled_at IS NULL RETURNING id
""")


@dataclass(frozen=True)
class Shipment:
    """What a carrier must know of a parcel; personal, so it never leaves the step, and repr leaves the person out."""

    fulfillment_id: str
    order_id: str
    currency: str  # ISO 4217
    name: str = field(repr=False)  # from here on: empty where the order does not say
    street1: str = field(repr=False)
    city: str = field(repr=False)
    zip: str = field(repr=False)
    state: str = field(repr=False)
    country: str = field(repr=False)  # as the order has it, never empty
    phone: str = field(repr=False)


async def create(tx: AsyncSession, order_id: str, quantities: Mapping[int, int] | None = None) -> CreatedFulfillment:
    """Take the reserved units off the shelves; an order with a live fulfillment gets that one, `created` false (V4).

    `quantities`: units per order line id, None for the whole order. `units` of the answer are those of inventory items.
    Raises OrderNotFound, BadInput (a quantity below 1), QuantityAboveUnfulfilled, ReservationMissing (V3), and
    InsufficientInventory when what is reserved is not there (I5).
    """
    if not await inventory.lock_reserved(tx, order_id):
        raise OrderNotFound(order_id)
    live = (await tx.execute(LIVE, {"order_id": order_id})).one_or_none()
    if live is not None:
        return CreatedFulfillment(fulfillment_id=live.id, units=live.units, created=False)
    asked = {"order_id": order_id, "quantities": None if quantities is None else _positive(quantities)}
    if quantities is not None:
        await _refuse_above(tx, asked)
    await _refuse_missing(tx, asked)
    made = (await tx.execute(TAKE, asked)).one()
    return CreatedFulfillment(fulfillment_id=made.id, units=made.units)


async def cancel(tx: AsyncSession, fulfillment: CreatedFulfillment, order_id: str) -> None:
    """Put the units back and hold them for the order as before; nothing if it was found, not made, or is cancelled."""
    if not fulfillment.created:
        return
    values = {"id": fulfillment.fulfillment_id, "order_id": order_id}
    await orders.lock(tx, order_id)
    await tx.execute(LOCK_TAKEN, values)
    await tx.execute(CANCEL, values)


async def shipment(tx: AsyncSession, order_id: str) -> Shipment:
    """Return what the carrier must know to ship the order's live fulfillment.

    Raises FulfillmentMissing, and AddressIncomplete without a country; old orders know nothing but that.
    """
    row = (await tx.execute(SHIPMENT, {"order_id": order_id})).mappings().one_or_none()
    if row is None:
        raise FulfillmentMissing(order_id)
    if not row["country"]:
        raise AddressIncomplete(order_id, missing="country")
    return Shipment(**row)


async def record_label(tx: AsyncSession, order_id: str, label: Label) -> None:
    """Store the label on the order's live fulfillment; raises FulfillmentMissing."""
    if (await tx.execute(RECORD_LABEL, dict(label) | {"order_id": order_id})).one_or_none() is None:
        raise FulfillmentMissing(order_id)


def _positive(quantities: Mapping[int, int]) -> str:
    if not quantities or min(quantities.values()) < 1:
        raise BadInput([FieldError(field="quantities", message="must name lines with at least 1 unit each")])
    return json.dumps(dict(quantities))


async def _refuse_above(tx: AsyncSession, asked: dict[str, str | None]) -> None:
    above = (await tx.execute(ABOVE, asked)).one_or_none()
    if above is not None:
        raise QuantityAboveUnfulfilled(above.id, above.requested, above.unfulfilled)


async def _refuse_missing(tx: AsyncSession, asked: dict[str, str | None]) -> None:
    if await tx.scalar(NOT_RESERVED, asked):
        raise ReservationMissing(str(asked["order_id"]))
    if short := (await tx.execute(SHORT, asked)).all():
        raise inventory.insufficient(short)
