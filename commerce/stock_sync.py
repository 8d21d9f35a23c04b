"""Stock set to what the warehouse has: on hand at its `as_of`, and what the shop has moved since (J6)."""

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

NEXT_SKUS = text("SELECT sku FROM inventory_items WHERE sku > :after ORDER BY sku LIMIT :limit")
# A level's stock as it is to be. Imports and other syncs are not added: they set the books, and moved no goods; one
# that came after the warehouse's reading knows better.
WANTED = """
    SELECT sku, item.id AS inventory_item_id, location, coalesce(stocked_quantity, 0) AS stocked,
           locations.id IS NULL AS homeless,
           EXISTS (SELECT FROM stock_movements AS moved
                   WHERE moved.inventory_item_id = item.id AND location_id = location
                     AND reason IN ('import', 'sync') AND moved.created_at > as_of) AS known_better,
           least(2147483647, greatest(0, on_hand + (
               SELECT coalesce(sum(quantity), 0) FROM stock_movements AS moved
               WHERE moved.inventory_item_id = item.id AND location_id = location
                 AND reason IN ('fulfillment', 'cancel') AND moved.created_at > as_of))) AS quantity
    FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:on_hand AS bigint[]),
                CAST(:as_of AS timestamptz[])) AS told (sku, location, on_hand, as_of)
    JOIN inventory_items AS item USING (sku)
    LEFT JOIN locations ON locations.id = location
    LEFT JOIN inventory_levels AS level ON level.inventory_item_id = item.id AND location_id = location
"""
COMPARE = text(f"""
    SELECT sku, location, homeless FROM ({WANTED}) AS wanted
    WHERE homeless OR quantity <> stocked AND NOT known_better
""")  # noqa: S608 - our own constants
MAKE_LEVELS = text("""
    INSERT INTO inventory_levels (inventory_item_id, location_id)
    SELECT item.id, location FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS told (sku, location)
    JOIN inventory_items AS item USING (sku) ORDER BY item.id, location
    ON CONFLICT DO NOTHING
""")
LOCK_LEVELS = text("""
    SELECT count(*) FROM (
        SELECT FROM inventory_levels AS level
        JOIN inventory_items AS item ON item.id = inventory_item_id
        JOIN unnest(CAST(:skus AS text[]), CAST(:locations AS text[])) AS told (sku, location)
            ON told.sku = item.sku AND location = location_id
        ORDER BY inventory_item_id, location_id FOR UPDATE OF level) AS locked
""")
# The clock, not the start of this transaction: what was refused for stock meanwhile must see that stock came after it.
SET_LEVELS = text(f"""
    WITH written AS (
        UPDATE inventory_levels AS level
        SET stocked_quantity = quantity, oversold = quantity < reserved_quantity
        FROM ({WANTED}) AS wanted
        WHERE level.inventory_item_id = wanted.inventory_item_id AND location_id = location
          AND stocked_quantity <> quantity AND NOT known_better
        RETURNING level.inventory_item_id, location_id, new.stocked_quantity AS stocked,
                  new.stocked_quantity - old.stocked_quantity AS quantity
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, 'sync', :reference, clock_timestamp() FROM written
    )
    SELECT inventory_item_id, location_id, stocked, quantity FROM written ORDER BY inventory_item_id, location_id
""")  # noqa: S608 - our own constants
# What a page has changed is told by its movements, however often it was tried and however its levels were cut up.
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
    """Units of a SKU at a location, as counted at `as_of` (UTC): our own movements since then are not in it."""

    sku: str
    location: str
    on_hand: int
    as_of: datetime


@dataclass(frozen=True)
class Differences:
    """Levels whose stock is not what it is to be, and how many are at places that the shop does not have."""

    levels: Sequence[CountedLevel]
    unknown_locations: int


async def next_skus(tx: AsyncSession, page: SkuPage) -> list[str]:
    """Return the SKUs to ask the warehouse for next, in their order."""
    return list(await tx.scalars(NEXT_SKUS, {"after": page.after, "limit": page.limit}))


async def compare(tx: AsyncSession, levels: Sequence[CountedLevel]) -> Differences:
    """Return which of the warehouse's levels differ from ours; writes and locks nothing."""
    found = (await tx.execute(COMPARE, _arrays(levels))).all()
    differ = {(row.sku, row.location) for row in found if not row.homeless}
    return Differences(
        levels=[level for level in levels if (level.sku, level.location) in differ],
        unknown_locations=sum(row.homeless for row in found),
    )


async def write(tx: AsyncSession, levels: Sequence[CountedLevel], reference: str) -> None:
    """Set these levels, each with its movement and event; what agrees by now stays. `reference` names the page."""
    values = _arrays(levels)
    pairs = {name: values[name] for name in ("skus", "locations")}
    await tx.execute(MAKE_LEVELS, pairs)
    await tx.execute(LOCK_LEVELS, pairs)
    written = (await tx.execute(SET_LEVELS, values | {"reference": reference})).all()
    await outbox.add(tx, *(_updated(row, reference) for row in written))


def _updated(row: Row[Any], reference: str) -> NewEvent:
    fact = InventoryUpdated(
        inventory_item_id=row.inventory_item_id,
        location_id=row.location_id,
        stocked_quantity=row.stocked,
        change=row.quantity,
    )
    item = row.inventory_item_id
    return NewEvent.from_data(fact, aggregate=f"inventory/{item}", key=f"{reference}/{item}/{row.location_id}")


async def count(tx: AsyncSession, skus: Sequence[str], page: StepKey) -> tuple[int, int]:
    """Return how many levels of these SKUs a page has changed, and how many of them are oversold."""
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
