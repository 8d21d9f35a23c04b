"""How the embedded warehouse knows what the shop moved: it reads the shop's database, and writes nothing there.

Its answers are readings of one moment, `as_of`: a movement made before it is counted, whatever is made later is not. A
movement is stamped when it is written and seen when it is committed, so that moment must lie before every transaction
still open: else a movement could turn up that is older than `as_of` and yet was not counted, and a sync, which adds the
movements with `created_at > as_of`, would lose it. Nothing then is lost or counted twice, at the price of a reading as
old as the oldest open transaction.

A level nobody set is the shop's own stock; one that was set is so many units and what the shop moved since then. Of the
movements only those of goods count (fulfillment, cancel): an import or a sync changes the books, not a shelf.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.database import Database
from starter.devstack.warehouse.schemas import Json, SetLevel, Told

READ_ONLY = text("SET TRANSACTION READ ONLY")
# Asked for in a statement before the one that reads levels: who is gone by then has committed, and is seen by that.
# Transactions of other database users are seen only by who may read all statistics; the embedded stack has one user.
HORIZON = text("""
    SELECT least(now(), min(xact_start)) - interval '1 microsecond' FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
""")
# A shelf holds nothing less than nothing: a level set too low, or set while goods came back, may come out below.
LEVELS = text("""
    SELECT sku, location, CAST(least(2147483647, greatest(0,
               coalesce(base + since_told, stocked) - since_reading)) AS int) AS on_hand
    FROM (SELECT sku, location, item_id, stocked, base, since
          FROM (SELECT item.sku, location_id AS location, item.id AS item_id, stocked_quantity AS stocked
                FROM inventory_items AS item JOIN inventory_levels ON inventory_item_id = item.id
                WHERE item.sku = ANY(CAST(:skus AS text[]))) AS shop
          FULL JOIN unnest(CAST(:told_skus AS text[]), CAST(:locations AS text[]),
                           CAST(:bases AS bigint[]), CAST(:since AS timestamptz[]))
              AS told (sku, location, base, since) USING (sku, location)
          WHERE (since IS NULL OR base IS NOT NULL) AND (sku, location) > (:sku, :location)
          ORDER BY sku, location LIMIT :limit) AS level,
         LATERAL (SELECT coalesce(sum(quantity) FILTER (WHERE created_at > since), 0) AS since_told,
                         coalesce(sum(quantity) FILTER (WHERE created_at > :as_of), 0) AS since_reading
                  FROM stock_movements
                  WHERE inventory_item_id = item_id AND location_id = location AND reason IN ('fulfillment', 'cancel')
                    AND created_at > least(since, :as_of)) AS moved
    ORDER BY sku, location
""")
BASES = text("""
    SELECT sku, location, on_hand - (
               SELECT coalesce(sum(quantity), 0) FROM inventory_items AS item
               JOIN stock_movements ON inventory_item_id = item.id
               WHERE item.sku = told.sku AND location_id = told.location AND reason IN ('fulfillment', 'cancel')
                 AND created_at > :since) AS base
    FROM unnest(CAST(:skus AS text[]), CAST(:locations AS text[]), CAST(:on_hand AS bigint[]))
        AS told (sku, location, on_hand)
""")


@dataclass(frozen=True)
class Place:
    """Where a page begins: behind this SKU and location, in the reading of this moment."""

    as_of: datetime | None = None  # None: a new reading
    sku: str = ""
    location: str = ""


class Stock:
    """The shop's stock and movements, as far as a warehouse knows of them. Its methods raise DatabaseUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def levels(
        self, skus: Sequence[str], told: Sequence[Told], place: Place, limit: int
    ) -> tuple[datetime, list[Json]]:
        """Return the moment of the reading and up to so many levels; `told` must have been read before."""
        values = {
            "skus": list(skus),
            "told_skus": [level.sku for level in told],
            "locations": [level.location for level in told],
            "bases": [level.base for level in told],
            "since": [level.since for level in told],
            "sku": place.sku,
            "location": place.location,
            "limit": limit,
        }
        async with self._reading() as tx:
            as_of = place.as_of or await _horizon(tx)
            rows = await tx.execute(LEVELS, values | {"as_of": as_of})
        return as_of, [dict(row) for row in rows.mappings()]

    async def tell(self, levels: Sequence[SetLevel]) -> list[Told]:
        """Return these levels as they are to be kept: what is seen to have moved is in them, what moves later is not.

        `since` is a horizon as well, so what is still open now counts as moving later, whenever it was stamped.
        """
        values = {
            "skus": [level.sku for level in levels],
            "locations": [level.location for level in levels],
            "on_hand": [level.on_hand for level in levels],
        }
        async with self._reading() as tx:
            since = await _horizon(tx)
            rows = await tx.execute(BASES, values | {"since": since})
        return [Told(since=since, **row) for row in rows.mappings()]

    async def close(self) -> None:
        """Give every connection back."""
        await self._database.close()

    @asynccontextmanager
    async def _reading(self) -> AsyncIterator[AsyncSession]:
        async with self._database.transaction() as tx:
            await tx.execute(READ_ONLY)
            yield tx


async def _horizon(tx: AsyncSession) -> datetime:
    """Return a moment before every transaction that is open, and before now."""
    horizon: datetime = (await tx.execute(HORIZON)).scalar_one()
    return horizon
