"""Set stock to what the warehouse has: its units on hand at `as_of`, plus the shop's own movements since (J6)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import outbox
from commerce.messages.events import InventoryUpdated
from commerce.messages.steps import StepKey
from commerce.messages.stock_sync import SkuPage
from commerce.outbox import NewEvent

# The warehouse need not know the items of variants whose stock is not managed.
LIST_SKUS = text("""
    SELECT sku FROM inventory_items AS item
    WHERE sku > :after AND (
        EXISTS (SELECT FROM variant_inventory_items JOIN variants ON variants.id = variant_id
                WHERE inventory_item_id = item.id AND manage_inventory)
        OR NOT EXISTS (SELECT FROM variant_inventory_items WHERE inventory_item_id = item.id))
    ORDER BY sku LIMIT :limit
""")
# What the stock of each counted level should be. Only movements of goods since the count are added. An import or
# another sync moves no goods, but if it came after the count, or the imported count did, the count is outdated.
TARGETS = """
    SELECT sku, item.id AS inventory_item_id, location, coalesce(stocked_quantity, 0) AS stocked,
           locations.id IS NULL AS unknown_location,
           coalesce(counted_at > as_of, false) OR
           EXISTS (SELECT FROM stock_movements AS moved
                   WHERE moved.inventory_item_id = item.id AND location_id = location
                     AND reason IN ('import', 'sync') AND moved.created_at > as_of) AS outdated,
           least(2147483647, greatest(0, on_hand + (
               SELECT coalesce(sum(quantity), 0) FROM stock_movements AS moved
               WHERE moved.inventory_item_id = item.id AND location_id = location
                 AND reason IN ('fulfillment', 'cancel', 'returned', 'pick_short')
                 AND moved.created_at > as_of))) AS target
    FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:on_hand AS bigint[]),
                CAST(:as_of AS timestamptz[])) AS counted (sku, location, on_hand, as_of)
    JOIN inventory_items AS item USING (sku)
    LEFT JOIN locations ON locations.id = location
    LEFT JOIN inventory_levels AS level ON level.inventory_item_id = item.id AND location_id = location
"""
COMPARE = text(f"""
    SELECT sku, location, unknown_location FROM ({TARGETS}) AS target_level
    WHERE unknown_location OR target <> stocked AND NOT outdated
""")  # noqa: S608 - our own constants
CREATE_LEVELS = text("""
    INSERT INTO inventory_levels (inventory_item_id, location_id)
    SELECT item.id, location FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS counted (sku, location)
    JOIN inventory_items AS item USING (sku) ORDER BY item.id, location
    ON CONFLICT DO NOTHING
""")
LOCK_LEVELS = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels AS level
        JOIN inventory_items AS item ON item.id = inventory_item_id
        JOIN unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS counted (sku, location)
            ON counted.sku = item.sku AND location = location_id
        ORDER BY inventory_item_id, location_id FOR UPDATE OF level) AS locked
""")
# clock_timestamp(), not the start of this transaction: the next sync compares it with the time of its count.
SET_LEVELS = text(f"""
    WITH written AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = target, oversold = target < reserved_quantity
        FROM ({TARGETS}) AS target_level
        WHERE level.inventory_item_id = target_level.inventory_item_id AND location_id = location
          AND stocked_quantity <> target AND NOT outdated
        RETURNING level.inventory_item_id, location_id, new.stocked_quantity AS stocked,
                  new.stocked_quantity - old.stocked_quantity AS quantity
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'sync', :reference, clock_timestamp() FROM written
    )
    SELECT inventory_item_id, location_id, stocked, quantity FROM written ORDER BY inventory_item_id, location_id
""")  # noqa: S608 - our own constants
# The movements show what a page has changed, over all its attempts and batches.
COUNT = text("""
    SELECT count(*) AS changed, count(*) FILTER (WHERE oversold) AS oversold
    FROM stock_movements AS moved
    JOIN inventory_items AS item ON item.id = moved.inventory_item_id
    JOIN inventory_levels AS level USING (inventory_item_id, location_id)
    WHERE item.sku = ANY(CAST(:skus AS text[])) AND reason = 'sync' AND reference = :reference
      AND moved.created_at >= (SELECT created_at FROM step_ledger
                               WHERE business_key = :business_key AND generation = :generation AND step = :step)
""")


@dataclass(frozen=True, slots=True)
class CountedLevel:
    """Units of a SKU at a location, as the warehouse counted them at `as_of` (UTC)."""

    sku: str
    location: str
    on_hand: int
    as_of: datetime


@dataclass(frozen=True)
class Differences:
    """Counted levels that differ from the shop's stock, and the number at locations that the shop does not have."""

    levels: Sequence[CountedLevel]
    unknown_locations: int


async def list_skus(tx: AsyncSession, page: SkuPage) -> list[str]:
    """Return the SKUs of a page, in order, without those whose stock is not managed."""
    return list(await tx.scalars(LIST_SKUS, {"after": page.after, "limit": page.limit}))


async def compare(tx: AsyncSession, levels: Sequence[CountedLevel]) -> Differences:
    """Return the counted levels that differ from the shop's stock. This neither writes nor locks."""
    found = (await tx.execute(COMPARE, _arrays(levels))).all()
    differ = {(row.sku, row.location) for row in found if not row.unknown_location}
    return Differences(
        levels=[level for level in levels if (level.sku, level.location) in differ],
        unknown_locations=sum(row.unknown_location for row in found),
    )


async def write_levels(tx: AsyncSession, levels: Sequence[CountedLevel], reference: str) -> None:
    """Set the stock of these levels, with a movement and an event for each that still differs.

    `reference` identifies the page in the movements.
    """
    values = _arrays(levels)
    pairs = {name: values[name] for name in ("skus", "locations")}
    await tx.execute(CREATE_LEVELS, pairs)
    await tx.execute(LOCK_LEVELS, pairs)
    written = (await tx.execute(SET_LEVELS, values | {"reference": reference})).all()
    await outbox.add(tx, *(_event_of(row, reference) for row in written))


def _event_of(row: Row[Any], reference: str) -> NewEvent:
    data = InventoryUpdated(
        inventory_item_id=row.inventory_item_id,
        location_id=row.location_id,
        stocked_quantity=row.stocked,
        change=row.quantity,
    )
    item = row.inventory_item_id
    return NewEvent.from_data(data, aggregate=f"inventory/{item}", key=f"{reference}/{item}/{row.location_id}")


async def count_changes(tx: AsyncSession, skus: Sequence[str], page: StepKey) -> tuple[int, int]:
    """Return how many levels of these SKUs the page has changed, and how many of those are oversold."""
    values = page.model_dump() | {"skus": list(skus), "reference": str(page)}
    changed, oversold = (await tx.execute(COUNT, values)).one()
    return changed, oversold


def _arrays(levels: Sequence[CountedLevel]) -> dict[str, list[object]]:
    return {
        "skus": [level.sku for level in levels],
        "locations": [level.location for level in levels],
        "on_hand": [level.on_hand for level in levels],
        "as_of": [level.as_of for level in levels],
    }
