"""Lists of stock, and one item in full."""

from difflib import get_close_matches
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import BadInput, ItemNotFound
from commerce.messages.base import FieldError
from commerce.messages.stock_views import (
    HeldUnits,
    ItemView,
    LevelView,
    MovementPage,
    MovementView,
    StockItem,
    StockPage,
)

MAX_PAGE = 200
LAST_MOVEMENTS = 20  # of an item in full
TITLE = """
    coalesce((SELECT product.title FROM variant_inventory_items AS part
              JOIN variants AS variant ON variant.id = part.variant_id
              JOIN products AS product ON product.id = variant.product_id
              WHERE part.inventory_item_id = item.id ORDER BY part.variant_id LIMIT 1), '') AS title
"""
LIST = text(f"""
    SELECT item.id, sku, {TITLE} FROM inventory_items AS item
    WHERE sku > :after AND starts_with(sku, :search)
    ORDER BY sku LIMIT :limit
""")  # noqa: S608 - our own constant
LIST_OVERSOLD = text(f"""
    SELECT item.id, sku, {TITLE} FROM inventory_items AS item
    WHERE item.id IN (SELECT inventory_item_id FROM inventory_levels WHERE oversold)
      AND sku > :after AND starts_with(sku, :search)
    ORDER BY sku LIMIT :limit
""")  # noqa: S608 - our own constant
FIND = text(f"SELECT item.id, sku, {TITLE} FROM inventory_items AS item WHERE sku = :sku")  # noqa: S608 - our own constant
# Of a large shop only a part is compared.
STARTING = text("""
    SELECT sku FROM inventory_items
    WHERE sku >= :start AND sku < CAST(:start AS text) || chr(1114111) ORDER BY sku LIMIT 500
""")
SIMILAR = 0.6  # how similar SKUs must be, from 0 to 1
LEVELS = text("""
    SELECT inventory_item_id, name AS location, stocked_quantity AS stocked, reserved_quantity AS reserved,
           stocked_quantity - reserved_quantity AS available, oversold, counted_at
    FROM inventory_levels JOIN locations ON locations.id = location_id
    WHERE inventory_item_id = ANY(:items) ORDER BY priority, locations.id
""")
# By the index of each location, of which there are few.
MOVEMENTS = text("""
    SELECT moved.id, name AS location, quantity, reason, reference, created_at,
           CASE WHEN reason = 'returned' THEN (SELECT order_id FROM order_returns WHERE order_returns.id = reference)
                WHEN reference ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
                THEN (SELECT order_id FROM fulfillments WHERE fulfillments.id = CAST(reference AS uuid)) END AS order_id
    FROM inventory_levels AS level JOIN locations ON locations.id = location_id,
    LATERAL (
        SELECT * FROM stock_movements AS moved
        WHERE moved.inventory_item_id = level.inventory_item_id AND moved.location_id = level.location_id
          AND (created_at, moved.id)
              < (coalesce(CAST(:before AS timestamptz), 'infinity'), coalesce(CAST(:before_id AS bigint), 0))
        ORDER BY created_at DESC, moved.id DESC LIMIT :limit) AS moved
    WHERE level.inventory_item_id = :item ORDER BY created_at DESC, moved.id DESC LIMIT :limit
""")
PLACE = text("SELECT created_at, id FROM stock_movements WHERE id = :id AND inventory_item_id = :item")
RESERVATIONS = text("""
    SELECT order_id, name AS location, sum(quantity) AS quantity
    FROM reservations JOIN locations ON locations.id = location_id WHERE inventory_item_id = :item
    GROUP BY order_id, name ORDER BY order_id, name LIMIT 100
""")


async def list_stock(
    tx: AsyncSession, *, search: str = "", oversold: bool = False, limit: int = 50, cursor: str | None = None
) -> StockPage:
    """Return a page of items by SKU; `limit` is 1 to 200. `search`: how the SKU starts.

    `oversold`: only items of which more is reserved than there is. Raises BadInput.
    """
    _check(limit)
    values = {"after": cursor or "", "search": search, "limit": limit + 1}
    rows = (await tx.execute(LIST_OVERSOLD if oversold else LIST, values)).all()
    levels = await _levels(tx, [row.id for row in rows[:limit]])
    items = [StockItem(sku=row.sku, title=row.title, levels=levels.get(row.id, [])) for row in rows[:limit]]
    return StockPage(items=items, next_cursor=items[-1].sku if len(rows) > limit else None)


async def load_item(tx: AsyncSession, sku: str) -> ItemView:
    """Return an item in full. Raises ItemNotFound."""
    item = await _find(tx, sku)
    held = (await tx.execute(RESERVATIONS, {"item": item.id})).mappings().all()
    return ItemView(
        sku=item.sku,
        title=item.title,
        levels=(await _levels(tx, [item.id])).get(item.id, []),
        reservations=[HeldUnits.model_validate(dict(row)) for row in held],
        movements=(await list_movements(tx, sku, limit=LAST_MOVEMENTS)).movements,
    )


async def list_movements(tx: AsyncSession, sku: str, *, limit: int = 50, cursor: int | None = None) -> MovementPage:
    """Return a page of the movements of an item, last one first; `limit` is 1 to 200. Raises ItemNotFound, BadInput."""
    _check(limit)
    item = await _find(tx, sku)
    values: dict[str, Any] = {"item": item.id, "limit": limit + 1, "before": None, "before_id": None}
    if cursor is not None:
        place = (await tx.execute(PLACE, {"id": cursor, "item": item.id})).one_or_none()
        if place is None:
            raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])
        values |= {"before": place.created_at, "before_id": place.id}
    rows = (await tx.execute(MOVEMENTS, values)).mappings().all()
    found = [MovementView.model_validate(dict(row)) for row in rows[:limit]]
    return MovementPage(movements=found, next_cursor=found[-1].id if len(rows) > limit else None)


def _check(limit: int) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput([FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}")])


async def not_found(tx: AsyncSession, sku: str) -> ItemNotFound:
    """Return the error for an unknown SKU, with similar ones that start like it."""
    starts = [start for start in dict.fromkeys((sku[:2], sku[:2].upper())) if start]
    known = [found for start in starts for found in await tx.scalars(STARTING, {"start": start})]
    close = get_close_matches(sku.upper(), [each.upper() for each in known], 3, SIMILAR)
    similar = sorted((each for each in known if each.upper() in close), key=lambda each: close.index(each.upper()))
    return ItemNotFound(sku, f"; similar: {', '.join(similar[:3])}" if similar else "")


async def _find(tx: AsyncSession, sku: str) -> Any:
    item = (await tx.execute(FIND, {"sku": sku})).one_or_none()
    if item is None:
        raise await not_found(tx, sku)
    return item


async def _levels(tx: AsyncSession, items: list[str]) -> dict[str, list[LevelView]]:
    levels: dict[str, list[LevelView]] = {}
    for row in (await tx.execute(LEVELS, {"items": items})).mappings():
        levels.setdefault(row["inventory_item_id"], []).append(LevelView.model_validate(dict(row)))
    return levels
