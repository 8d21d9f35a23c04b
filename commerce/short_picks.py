"""Short picks: units that the warehouse has not found leave the fulfillment and are written off (K3).

They go back in the books, and are written off in the same statement: no other order can take them. What is then not
enough for a whole unit of an order line is back on the shelf.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import orders, sales
from commerce.fulfillment import LOCK_FULFILLED
from commerce.messages.orders import MAX_INSUFFICIENT_ITEMS, InsufficientItem
from commerce.messages.picks import Missing, RecordedShortPick, ShortPick

ITEMS = text("""
    SELECT item.id, CAST(fulfillment_id AS text) AS fulfillment_id, order_line_id, item.inventory_item_id,
           stock.sku AS item_sku, item.quantity, line.quantity AS ordered, line.variant_id, line.sku
    FROM fulfillment_items AS item JOIN fulfillments ON fulfillments.id = fulfillment_id
    JOIN order_lines AS line ON line.id = order_line_id
    JOIN inventory_items AS stock ON stock.id = item.inventory_item_id
    WHERE fulfillments.order_id = :order_id AND cancelled_at IS NULL
    ORDER BY line.position DESC, item.id DESC
""")
LIVE = text("""
    SELECT CAST(id AS text) AS id, position,
           EXISTS (SELECT FROM fulfillment_items WHERE fulfillment_id = fulfillments.id) AS has_goods,
           EXISTS (SELECT FROM order_lines AS line WHERE line.order_id = :order_id AND line.quantity > 0
                   AND NOT EXISTS (SELECT FROM fulfillment_items WHERE order_line_id = line.id)
                   AND NOT EXISTS (SELECT FROM pick_shorts WHERE order_line_id = line.id)) AS has_other_lines
    FROM fulfillments WHERE order_id = :order_id AND cancelled_at IS NULL ORDER BY position
""")
# `lost`: not found; `spare`: found, but not enough for a whole unit of the line.
TAKE_OFF = text("""
    WITH part AS MATERIALIZED (
        SELECT item.*, lost, spare
        FROM jsonb_to_recordset(CAST(:parts AS jsonb)) AS taken (id bigint, lost int, spare int)
        JOIN fulfillment_items AS item USING (id)
    ), gone AS (
        DELETE FROM fulfillment_items AS item USING part WHERE item.id = part.id AND item.quantity = lost + spare
    ), lowered AS (
        UPDATE fulfillment_items AS item SET quantity = item.quantity - lost - spare
        FROM part WHERE item.id = part.id AND item.quantity > lost + spare
    ), total AS (
        SELECT fulfillment_id, inventory_item_id, location_id, sum(lost) AS lost, sum(spare) AS spare
        FROM part GROUP BY fulfillment_id, inventory_item_id, location_id
    ), raised AS (
        UPDATE inventory_levels AS level SET stocked_quantity = stocked_quantity + spare
        FROM (SELECT inventory_item_id, location_id, sum(spare) AS spare FROM total
              GROUP BY inventory_item_id, location_id HAVING sum(spare) > 0) AS back
        WHERE level.inventory_item_id = back.inventory_item_id AND level.location_id = back.location_id
    ), moved AS (
        INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT inventory_item_id, location_id, quantity, reason, CAST(fulfillment_id AS text), clock_timestamp()
        FROM total, LATERAL (VALUES (lost + spare, 'cancel'), (-lost, 'pick_short')) AS moves (quantity, reason)
        WHERE quantity <> 0
    )
    INSERT INTO pick_shorts (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity, lost)
    SELECT fulfillment_id, order_line_id, inventory_item_id, location_id, lost + spare, lost FROM part
    ON CONFLICT (fulfillment_id, order_line_id, inventory_item_id, location_id)
    DO UPDATE SET quantity = pick_shorts.quantity + excluded.quantity, lost = pick_shorts.lost + excluded.lost
""")
# Each item of a line has as many units left as its whole units need. What is not shipped counts as refunded: a person
# refunds it (K3).
CLOSE_LINES = text("""
    UPDATE order_lines AS line
    SET quantity = kept, refunded_quantity = coalesce(refunded_quantity, 0) + line.quantity - kept
    FROM (
        SELECT order_line_id, min(div(ordered * coalesce(remaining, 0), coalesce(remaining, 0) + short)) AS kept
        FROM (
            SELECT short.order_line_id, short.inventory_item_id, sum(short.quantity) AS short,
                   (SELECT sum(item.quantity) FROM fulfillment_items AS item
                    JOIN fulfillments AS live ON live.id = item.fulfillment_id AND live.cancelled_at IS NULL
                    WHERE item.order_line_id = short.order_line_id
                      AND item.inventory_item_id = short.inventory_item_id) AS remaining,
                   (SELECT quantity FROM order_lines WHERE id = short.order_line_id) AS ordered
            FROM pick_shorts AS short
            JOIN fulfillments ON fulfillments.id = short.fulfillment_id AND fulfillments.cancelled_at IS NULL
            JOIN orders ON orders.id = fulfillments.order_id AND fulfillment_status <> 'fulfilled'
            WHERE orders.id = :order_id
            GROUP BY short.order_line_id, short.inventory_item_id
        ) AS part GROUP BY order_line_id
    ) AS left_over
    WHERE line.id = order_line_id
    RETURNING line.id
""")


async def record(tx: AsyncSession, pick: ShortPick, *, ships_parts: bool) -> RecordedShortPick:
    """Take what was not found off the order's fulfillments, and write it off.

    `ships_parts`: whole units of order lines of which everything was found go on, if there are any, and spare items are
    back on the shelf. Otherwise the order is undone. Raises OrderChanged.
    """
    await orders.raise_if_changed(tx, pick)
    await tx.execute(LOCK_FULFILLED, {"ids": sorted({each.fulfillment_id for each in pick.missing})})
    items = (await tx.execute(ITEMS, {"order_id": pick.order_id})).all()
    lost = _lost(items, pick.missing)
    kept = _kept(items, lost)
    live = (await tx.execute(LIVE, {"order_id": pick.order_id})).all()
    ships = not any(lost.values()) or (
        ships_parts and (any(kept.values()) or any(each.has_other_lines for each in live))
    )
    spare = _spare(items, lost, kept) if ships else {}
    parts = [
        {"id": row.id, "lost": lost[row.id], "spare": spare.get(row.id, 0)}
        for row in items
        if lost[row.id] or spare.get(row.id)
    ]
    await tx.execute(TAKE_OFF, {"parts": json.dumps(parts)})
    live = (await tx.execute(LIVE, {"order_id": pick.order_id})).all()
    short = _short(items, lost, kept)
    return RecordedShortPick(
        ships=ships,
        missing=sum(lost.values()),
        empty=[row.id for row in live if not row.has_goods and not (row.position == 1 and row.has_other_lines)],
        items=short[:MAX_INSUFFICIENT_ITEMS],
        count=len(short),
    )


async def close_lines(tx: AsyncSession, order_id: str) -> bool:
    """Let the lines of an order that is fulfilled now say what was shipped. Return whether that changes any."""
    await sales.mark_days(tx, [order_id])
    if not (await tx.execute(CLOSE_LINES, {"order_id": order_id})).all():
        return False
    await sales.record(tx, [order_id])
    return True


def _lost(items: Sequence[Row[Any]], missing: Iterable[Missing]) -> dict[int, int]:
    """Return how many units each item of a fulfillment has lost; the last lines of the order lose theirs first."""
    left: dict[tuple[str, str], int] = defaultdict(int)
    for each in missing:
        left[each.fulfillment_id, each.sku] += each.quantity
    lost = {}
    for row in items:
        key = (row.fulfillment_id, row.item_sku)
        lost[row.id] = min(row.quantity, left[key])
        left[key] -= lost[row.id]
    return lost


def _kept(items: Sequence[Row[Any]], lost: dict[int, int]) -> dict[int, int]:
    """Return how many whole units of each order line were found."""
    needed: dict[tuple[int, str], int] = defaultdict(int)
    found: dict[tuple[int, str], int] = defaultdict(int)
    kept: dict[int, int] = {}
    for row in items:
        key = (row.order_line_id, row.inventory_item_id)
        needed[key] += row.quantity
        found[key] += row.quantity - lost[row.id]
        kept[row.order_line_id] = row.ordered
    ordered = dict(kept)
    for (line, item), units in needed.items():
        kept[line] = min(kept[line], found[line, item] * ordered[line] // units)
    return kept


def _spare(items: Sequence[Row[Any]], lost: dict[int, int], kept: dict[int, int]) -> dict[int, int]:
    """Return what is left of each item of a fulfillment beyond the whole units of its line."""
    needed: dict[tuple[int, str], int] = defaultdict(int)
    found: dict[tuple[int, str], int] = defaultdict(int)
    for row in items:
        needed[row.order_line_id, row.inventory_item_id] += row.quantity
        found[row.order_line_id, row.inventory_item_id] += row.quantity - lost[row.id]
    ordered = {row.order_line_id: row.ordered for row in items}
    over = {
        (line, item): found[line, item] - units * kept[line] // ordered[line] for (line, item), units in needed.items()
    }
    spare = {}
    for row in items:
        key = (row.order_line_id, row.inventory_item_id)
        spare[row.id] = min(row.quantity - lost[row.id], over[key])
        over[key] -= spare[row.id]
    return spare


def _short(items: Sequence[Row[Any]], lost: dict[int, int], kept: dict[int, int]) -> list[InsufficientItem]:
    """Return the variants of which units are missing, with the units that were found."""
    lines = {row.order_line_id: row for row in items}
    short_lines = {row.order_line_id for row in items if lost[row.id]}
    requested: dict[str, int] = defaultdict(int)
    available: dict[str, int] = defaultdict(int)
    for line, row in lines.items():
        requested[row.variant_id] += row.ordered
        available[row.variant_id] += kept[line]
    short = {lines[line].variant_id: lines[line].sku for line in short_lines}
    return [
        InsufficientItem(variant_id=variant, sku=sku, requested=requested[variant], available=available[variant])
        for variant, sku in sorted(short.items(), key=lambda pair: pair[1])
    ]
