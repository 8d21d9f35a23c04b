"""The stock of the embedded warehouse: it reads the shop's database, and writes nothing there.

A reading is the stock at one time, `as_of`: movements before it are included, later ones are not. A movement gets its
time when it is written, but is visible only when it is committed. So `as_of` must be before the start of every open
transaction. Otherwise a movement older than `as_of` could become visible after the reading, and a sync, which adds the
movements with `created_at > as_of`, would lose it. The price: a reading is as old as the oldest open transaction.

A level that was not set is the shop's own stock. A level that was set is a number of units plus the shop's movements
since then. Only movements of goods count (MOVING): an import or a sync moves none.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from starter.devstack.warehouse.schemas import FixedLevel, Json, SetLevel

MOVING = ["fulfillment", "cancel", "returned", "pick_short"]
READ_ONLY = text("SET TRANSACTION READ ONLY")
# This runs before the statement that reads levels. A transaction that ends in between has committed, and that statement
# sees it. Seeing the transactions of other roles takes a privilege, but only the application's role moves goods.
HORIZON = text("""
    SELECT least(now(), min(xact_start)) - interval '1 microsecond' FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
""")
# Levels are at least 0: one that was set too low, or set while goods came back, could come out negative.
LEVELS = text("""
    SELECT sku, location, CAST(least(2147483647, greatest(0,
               coalesce(base + since_fixed, stocked) - since_reading)) AS int) AS on_hand
    FROM (SELECT sku, location, item_id, stocked, base, since
          FROM (SELECT item.sku, location_id AS location, item.id AS item_id, stocked_quantity AS stocked
                FROM inventory_items AS item JOIN inventory_levels ON inventory_item_id = item.id
                WHERE item.sku = ANY(CAST(:skus AS text[]))) AS shop
          FULL JOIN unnest(CAST(:fixed_skus AS text[]), CAST(:locations AS text[]),
                           CAST(:bases AS bigint[]), CAST(:since AS timestamptz[]))
              AS fixed (sku, location, base, since) USING (sku, location)
          WHERE (since IS NULL OR base IS NOT NULL) AND (sku, location) > (:sku, :location)
          ORDER BY sku, location LIMIT :limit) AS level,
         LATERAL (SELECT coalesce(sum(quantity) FILTER (WHERE created_at > since), 0) AS since_fixed,
                         coalesce(sum(quantity) FILTER (WHERE created_at > :as_of), 0) AS since_reading
                  FROM stock_movements
                  WHERE inventory_item_id = item_id AND location_id = location AND reason = ANY(:moving)
                    AND created_at > least(since, :as_of)) AS moved
    ORDER BY sku, location
""")
BASES = text("""
    SELECT sku, location, on_hand - (
               SELECT coalesce(sum(quantity), 0) FROM inventory_items AS item
               JOIN stock_movements ON inventory_item_id = item.id
               WHERE item.sku = fixed.sku AND location_id = fixed.location AND reason = ANY(:moving)
                 AND created_at > :since) AS base
    FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:on_hand AS bigint[]))
        AS fixed (sku, location, on_hand)
""")


@dataclass(frozen=True)
class Cursor:
    """Where a page starts: after this SKU and location, in the reading of this time."""

    as_of: datetime | None = None  # None: a new reading
    sku: str = ""
    location: str = ""


class Stock:
    """The shop's stock and movements. Methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def levels(
        self, skus: Sequence[str], fixed: Sequence[FixedLevel], cursor: Cursor, limit: int
    ) -> tuple[datetime, list[Json]]:
        """Return the time of the reading and up to `limit` levels. Read `fixed` before calling this."""
        values = {
            "skus": list(skus),
            "fixed_skus": [level.sku for level in fixed],
            "locations": [level.location for level in fixed],
            "bases": [level.base for level in fixed],
            "since": [level.since for level in fixed],
            "sku": cursor.sku,
            "location": cursor.location,
            "limit": limit,
        }
        async with self._reading() as tx:
            as_of = cursor.as_of or await _horizon(tx)
            rows = await tx.execute(LEVELS, values | {"as_of": as_of, "moving": MOVING})
        return as_of, [dict(row) for row in rows.mappings()]

    async def fix(self, levels: Sequence[SetLevel]) -> list[FixedLevel]:
        """Return the levels to store: they include the movements that are visible now.

        `since` is before every open transaction, so movements that are committed later are added to the levels.
        """
        values = {
            "skus": [level.sku for level in levels],
            "locations": [level.location for level in levels],
            "on_hand": [level.on_hand for level in levels],
        }
        async with self._reading() as tx:
            since = await _horizon(tx)
            rows = await tx.execute(BASES, values | {"since": since, "moving": MOVING})
        return [FixedLevel(since=since, **row) for row in rows.mappings()]

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        async with self._database.transaction() as tx:
            await tx.execute(READ_ONLY)
            yield tx


async def _horizon(tx: AsyncSession) -> datetime:
    """Return a time before now and before the start of every open transaction."""
    horizon: datetime = (await tx.execute(HORIZON)).scalar_one()
    return horizon
