"""Set the stock of an item at a location to what an operator has counted."""

from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import operator_actions
from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.queries.stock import not_found

MAX_UNITS = 2**31 - 1
FIND_ITEM = text("SELECT id FROM inventory_items WHERE sku = :sku")
FIND_LOCATION = text("""
    SELECT id FROM locations WHERE name = :location OR id = :location ORDER BY name = :location DESC LIMIT 1
""")
CREATE = text("""
    INSERT INTO inventory_levels (inventory_item_id, location_id) VALUES (:item, :location) ON CONFLICT DO NOTHING
""")
# A count like an imported one: an earlier one, of a file or of the warehouse, does not replace it (I13, J6).
SET = text("""
    WITH level AS (
        SELECT stocked_quantity FROM inventory_levels
        WHERE inventory_item_id = :item AND location_id = :location FOR UPDATE
    ), written AS (
        UPDATE inventory_levels
        SET stocked_quantity = :units, imported_on_hand = :units, counted_at = clock_timestamp(),
            oversold = CAST(:units AS integer) < reserved_quantity
        FROM level WHERE inventory_item_id = :item AND location_id = :location
        RETURNING old.stocked_quantity AS before, oversold
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT :item, :location, CAST(:units AS integer) - before, 'import', :reference, clock_timestamp()
        FROM written WHERE before <> CAST(:units AS integer)
    )
    SELECT before, oversold FROM written
""")


class StockSet(NamedTuple):
    """The units before, and whether more is reserved than there is now."""

    before: int
    oversold: bool


async def set_stock(tx: AsyncSession, sku: str, location: str, units: int, *, reason: str, actor: str) -> StockSet:
    """Set what an item has in stock at a location (its name or id), as counted now; reservations stay.

    Units in fulfillments are not in stock any more, also if they have not left yet. Raises ItemNotFound, BadInput.
    """
    if not 0 <= units <= MAX_UNITS:
        raise BadInput([FieldError(field="units", message=f"must be 0 to {MAX_UNITS}")])
    action = operator_actions.validate_action(process_id=f"stock/{sku}", action="set-stock", reason=reason, actor=actor)
    item = await tx.scalar(FIND_ITEM, {"sku": sku})
    if item is None:
        raise await not_found(tx, sku)
    place = await tx.scalar(FIND_LOCATION, {"location": location})
    if place is None:
        raise BadInput([FieldError(field="location", message="there is no such location")])
    level = {"item": item, "location": place}
    await tx.execute(CREATE, level)
    reference = await operator_actions.record(tx, action)
    before, oversold = (await tx.execute(SET, level | {"units": units, "reference": reference})).one()
    return StockSet(before, oversold)
