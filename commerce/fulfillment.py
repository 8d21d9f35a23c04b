"""Fulfillments: take an order's reserved goods off the shelves, put them back, and store the shipping label."""

from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import inventory, orders
from commerce.countries import country_code
from commerce.errors import AddressIncomplete, FulfillmentMissing, OrderNotFound, ReservationMissing
from commerce.messages.orders import MAX_INSUFFICIENT_ITEMS, CreatedFulfillment, Label

LIVE = text("""
    SELECT CAST(fulfillment.id AS text) AS id, CAST(coalesce(sum(item.quantity), 0) AS bigint) AS units
    FROM fulfillments AS fulfillment LEFT JOIN fulfillment_items AS item ON item.fulfillment_id = fulfillment.id
    WHERE order_id = :order_id AND cancelled_at IS NULL
    GROUP BY fulfillment.id
""")
# Sums of needs and reservations per line and item, instead of a join of both, which could compare each with each.
NOT_RESERVED = text("""
    SELECT EXISTS (
        SELECT FROM (
            SELECT line.id AS order_line_id, inventory_item_id,
                   CAST(line.quantity AS bigint) * coalesce(required_quantity, 1) AS quantity
            FROM order_lines AS line
            JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
            LEFT JOIN variant_inventory_items AS part ON part.variant_id = variant.id
            WHERE line.order_id = :order_id
            UNION ALL
            SELECT order_line_id, inventory_item_id, -quantity FROM reservations WHERE order_id = :order_id
        ) AS missing
        GROUP BY order_line_id, inventory_item_id HAVING sum(quantity) > 0)
""")
# Reservations can exceed stock: by a backorder (I5), or after a stock sync (I9). A backordered variant must leave the
# units that are reserved for other variants, which cannot be backordered. `on_hand` is what it may use. The joins are
# made as in `inventory.NEED_AND_SUPPLY`.
SHORT = text(f"""
    WITH needed AS MATERIALIZED (
        SELECT variant.id AS variant_id, variant.sku, allow_backorder, inventory_item_id, location_id,
               coalesce(required_quantity, 1) AS required_quantity, reserved.quantity, stocked_quantity
        FROM reservations AS reserved
        JOIN inventory_levels AS level USING (inventory_item_id, location_id)
        JOIN order_lines AS line ON line.id = reserved.order_line_id
        JOIN variants AS variant ON variant.id = line.variant_id
        LEFT JOIN variant_inventory_items AS part USING (variant_id, inventory_item_id)
        WHERE reserved.order_id = :order_id
    ), promised AS MATERIALIZED (
        SELECT inventory_item_id, location_id, (
            SELECT sum(reserved.quantity) FROM reservations AS reserved
            JOIN order_lines AS line ON line.id = reserved.order_line_id
            JOIN variants AS variant ON variant.id = line.variant_id AND NOT variant.allow_backorder
            WHERE reserved.inventory_item_id = level.inventory_item_id AND reserved.location_id = level.location_id
        ) AS promised
        FROM (SELECT DISTINCT inventory_item_id, location_id FROM needed WHERE allow_backorder) AS level
    ), supply AS MATERIALIZED (
        SELECT *, stocked_quantity - CASE WHEN allow_backorder THEN coalesce(promised, 0) ELSE 0 END AS on_hand,
               sum(quantity) OVER (PARTITION BY inventory_item_id, location_id, allow_backorder) AS needed_here
        FROM needed FULL JOIN promised USING (inventory_item_id, location_id)
    ), level AS (
        SELECT variant_id, sku, inventory_item_id, required_quantity, bool_or(needed_here > on_hand) AS short,
               least(sum(quantity), greatest(min(on_hand), 0)) AS available
        FROM supply GROUP BY variant_id, sku, inventory_item_id, location_id, required_quantity
    ), item AS (
        SELECT variant_id, sku, bool_or(short) AS short, div(sum(available), required_quantity) AS available
        FROM level GROUP BY variant_id, sku, inventory_item_id, required_quantity
    )
    SELECT variant_id, sku, CAST(min(available) AS bigint) AS available, count(*) OVER () AS short,
           (SELECT sum(quantity) FROM order_lines AS line
            WHERE line.order_id = :order_id AND line.variant_id = item.variant_id) AS requested
    FROM item GROUP BY variant_id, sku HAVING bool_or(short)
    ORDER BY sku LIMIT {MAX_INSUFFICIENT_ITEMS}
""")  # noqa: S608 - our own constant
TAKE = text("""
    WITH taken AS (
        DELETE FROM reservations WHERE order_id = :order_id
        RETURNING order_line_id, inventory_item_id, location_id, quantity
    ), created AS (
        INSERT INTO fulfillments (order_id, required_units)
        SELECT :order_id, coalesce(sum(CAST(line.quantity AS bigint) * required_quantity), 0)
        FROM order_lines AS line
        JOIN variants AS variant ON variant.id = line.variant_id AND variant.manage_inventory
        JOIN variant_inventory_items AS part ON part.variant_id = variant.id
        WHERE line.order_id = :order_id
        RETURNING id
    ), items AS (
        INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT created.id, order_line_id, inventory_item_id, location_id, quantity FROM taken, created
    ), total AS (
        SELECT inventory_item_id, location_id, sum(quantity) AS quantity
        FROM taken GROUP BY inventory_item_id, location_id
    ), lowered AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = stocked_quantity - total.quantity, reserved_quantity = reserved_quantity - total.quantity
        FROM total
        WHERE level.inventory_item_id = total.inventory_item_id AND level.location_id = total.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, -quantity, 'fulfillment', CAST(created.id AS text), clock_timestamp()
        FROM total, created
    )
    SELECT CAST(id AS text) AS id, (SELECT CAST(coalesce(sum(quantity), 0) AS bigint) FROM taken) AS units FROM created
""")
LOCK_FULFILLED = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels WHERE (inventory_item_id, location_id) IN (
            SELECT inventory_item_id, location_id FROM fulfillment_items WHERE fulfillment_id = CAST(:id AS uuid))
        ORDER BY inventory_item_id, location_id FOR UPDATE) AS locked
""")
CANCEL = text("""
    WITH cancelled AS (
        UPDATE fulfillments SET cancelled_at = clock_timestamp()
        WHERE id = CAST(:id AS uuid) AND order_id = :order_id AND cancelled_at IS NULL RETURNING id
    ), item AS (
        SELECT item.* FROM fulfillment_items AS item JOIN cancelled ON cancelled.id = item.fulfillment_id
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
    INSERT INTO reservations AS reserved (order_id, order_line_id, inventory_item_id, location_id, quantity, backorder)
    SELECT :order_id, order_line_id, inventory_item_id, location_id, quantity, false FROM item
    ON CONFLICT (order_line_id, inventory_item_id, location_id)
    DO UPDATE SET quantity = reserved.quantity + excluded.quantity
""")
SHIPMENT = text("""
    SELECT CAST(fulfillment.id AS text) AS fulfillment_id, decisive_revision, number, currency,
           coalesce(shipping_name, '') AS name, coalesce(shipping_company, '') AS company,
           coalesce(shipping_address1, '') AS street1, coalesce(shipping_address2, '') AS street2,
           coalesce(shipping_city, '') AS city, coalesce(shipping_zip, '') AS zip,
           coalesce(nullif(shipping_province, ''), shipping_province_name, '') AS state,
           coalesce(btrim(shipping_country), '') AS country,
           coalesce(nullif(shipping_phone, ''), phone, '') AS phone
    FROM fulfillments AS fulfillment JOIN orders ON orders.id = order_id
    WHERE order_id = :order_id AND fulfillment.cancelled_at IS NULL
""")
RECORD_LABEL = text("""
    UPDATE fulfillments
    SET shipment_id = :shipment_id, tracking_number = :tracking_number, carrier = :carrier, label_url = :label_url
    WHERE order_id = :order_id AND cancelled_at IS NULL RETURNING id
""")


@dataclass(frozen=True, repr=False)
class Address:
    """A postal address; fields that are not known are empty. It has no repr, because it is personal data."""

    name: str
    street1: str
    city: str
    zip: str
    state: str
    country: str  # ISO 3166, two letters
    phone: str
    street2: str = ""
    company: str = ""


@dataclass(frozen=True)
class Shipment:
    """What a carrier needs to know to ship an order. It holds personal data and never leaves the step."""

    fulfillment_id: str
    order_id: str
    number: str  # what the customer calls the order
    currency: str  # ISO 4217
    recipient: Address


async def create(tx: AsyncSession, order_id: str) -> CreatedFulfillment:
    """Take the order's reserved units off the shelves, or return its live fulfillment with `created` false (V4).

    The result counts units of inventory items. Raises OrderNotFound, ReservationMissing (V3), and
    InsufficientInventory if units are reserved that are not in stock (I5).
    """
    if not await inventory.lock_reserved(tx, order_id):
        raise OrderNotFound(order_id)
    live = (await tx.execute(LIVE, {"order_id": order_id})).one_or_none()
    if live is not None:
        return CreatedFulfillment(fulfillment_id=live.id, units=live.units, created=False)
    if await tx.scalar(NOT_RESERVED, {"order_id": order_id}):
        raise ReservationMissing(order_id)
    if short := (await tx.execute(SHORT, {"order_id": order_id})).all():
        raise inventory.insufficient(short)
    created = (await tx.execute(TAKE, {"order_id": order_id})).one()
    return CreatedFulfillment(fulfillment_id=created.id, units=created.units)


async def cancel(tx: AsyncSession, fulfillment: CreatedFulfillment, order_id: str) -> None:
    """Put the units back and reserve them for the order again.

    Does nothing if the fulfillment is cancelled already, or if `create` found it instead of creating it.
    """
    if not fulfillment.created:
        return
    values = {"id": fulfillment.fulfillment_id, "order_id": order_id}
    await orders.lock(tx, order_id)
    await tx.execute(LOCK_FULFILLED, values)
    await tx.execute(CANCEL, values)


async def shipment(tx: AsyncSession, order_id: str, revision: int | None = None) -> Shipment:
    """Return the shipment of the order's live fulfillment.

    `revision`: the one that the process has read. Raises FulfillmentMissing, OrderChanged if a later change matters to
    processing, and AddressIncomplete without a known country. Only the country is required, because old orders have
    nothing else.
    """
    row = (await tx.execute(SHIPMENT, {"order_id": order_id})).one_or_none()
    if row is None:
        raise FulfillmentMissing(order_id)
    orders.check_revision(order_id, revision, row.decisive_revision)
    if (country := country_code(row.country)) is None:
        raise AddressIncomplete(order_id, missing="known country" if row.country else "country")
    recipient = Address(
        name=row.name,
        street1=row.street1,
        city=row.city,
        zip=row.zip,
        state=row.state,
        country=country,
        phone=row.phone,
        street2=row.street2,
        company=row.company,
    )
    return Shipment(row.fulfillment_id, order_id, row.number, row.currency, recipient)


async def record_label(tx: AsyncSession, order_id: str, label: Label) -> None:
    """Store the label on the order's live fulfillment; raises FulfillmentMissing."""
    if (await tx.execute(RECORD_LABEL, dict(label) | {"order_id": order_id})).one_or_none() is None:
        raise FulfillmentMissing(order_id)
