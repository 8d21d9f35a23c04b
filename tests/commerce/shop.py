"""A shop for tests: create products, stock and orders in one call each, and read the resulting rows."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import CursorResult, insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import audit, generations, tables
from commerce.audit import Finding, Page
from commerce.audit_rules import RULES
from commerce.database import Database
from commerce.messages.steps import StepKey
from starter.devstack.postgres import MIGRATOR
from tests.conftest import run_sql
from tests.servers import url_of

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
PRICE = 250  # minor units

P = ParamSpec("P")
R = TypeVar("R")

# The invariants of stock; every row is a breach.
BREACHES = """
    SELECT 'stocked is not the sum of movements: ' || level.inventory_item_id || ' at ' || level.location_id
    FROM inventory_levels AS level LEFT JOIN stock_movements AS moved USING (inventory_item_id, location_id)
    GROUP BY level.inventory_item_id, level.location_id HAVING stocked_quantity <> coalesce(sum(moved.quantity), 0)
    UNION ALL
    SELECT 'reserved is not the sum of reservations: ' || level.inventory_item_id || ' at ' || level.location_id
    FROM inventory_levels AS level LEFT JOIN reservations AS held USING (inventory_item_id, location_id)
    GROUP BY level.inventory_item_id, level.location_id HAVING reserved_quantity <> coalesce(sum(held.quantity), 0)
    UNION ALL
    SELECT 'more is reserved than stocked: ' || level.inventory_item_id || ' at ' || level.location_id
    FROM inventory_levels AS level JOIN reservations AS held USING (inventory_item_id, location_id)
    JOIN order_lines AS line ON line.id = order_line_id
    JOIN variants AS variant ON variant.id = variant_id AND NOT allow_backorder
    WHERE NOT oversold
    GROUP BY level.inventory_item_id, level.location_id HAVING stocked_quantity < sum(held.quantity)
    UNION ALL
    SELECT 'movements are not the units in live fulfillments: ' || coalesce(moved.item, taken.item)
    FROM (SELECT inventory_item_id AS item, -sum(quantity) AS units FROM stock_movements
          WHERE reason IN ('fulfillment', 'cancel') GROUP BY inventory_item_id) AS moved
    FULL JOIN (SELECT inventory_item_id AS item, sum(quantity) AS units
               FROM fulfillment_items JOIN fulfillments ON fulfillments.id = fulfillment_id
               WHERE cancelled_at IS NULL GROUP BY inventory_item_id) AS taken USING (item)
    WHERE coalesce(moved.units, 0) <> coalesce(taken.units, 0)
"""
# The moment until which an external service may still carry out a request that got no answer.
SETTLE_EARLIER = """
    UPDATE step_ledger SET note = note || jsonb_build_object(
        'settled_at', CAST(note ->> 'settled_at' AS timestamptz) - CAST(:time AS interval))
    WHERE note ? 'settled_at' RETURNING 1
"""
DELETE_ALL = "TRUNCATE locations, products, inventory_items, orders, outbox_events CASCADE"


async def begin_generation(tx: AsyncSession, key: StepKey) -> None:
    """Make the key's generation the current one, whichever was current before."""
    assert await generations.begin(tx, key, replaced=await generations.current_generation(tx, key.business_key))


async def let_pass(database: Database, time: timedelta) -> None:
    """Let time pass for the one step whose last request to an external service got no answer."""
    async with database.transaction() as tx:
        (await tx.execute(text(SETTLE_EARLIER), {"time": time})).one()


class Shop:
    """The data of a shop. A SKU is also the id of its variant, product and inventory item."""

    def __init__(self, database: Database) -> None:
        self.database = database

    async def call(
        self, step: Callable[Concatenate[AsyncSession, P], Awaitable[R]], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Call a function of `commerce` in its own transaction."""
        async with self.database.transaction() as tx:
            return await step(tx, *args, **kwargs)

    async def owner_sql(self, statement: str) -> None:
        """Execute a statement that only the owner of the tables may execute."""
        await run_sql(url_of(MIGRATOR, self.database._url), statement)

    async def sql(self, statement: str, **values: object) -> list[Any]:
        """Execute a statement and return its rows: tuples, or plain values if there is one column."""
        async with self.database.transaction() as tx:
            done = await tx.execute(text(statement), values)
            if isinstance(done, CursorResult) and not done.returns_rows:
                return []
            return list(done.scalars()) if len(done.keys()) == 1 else [tuple(row) for row in done]

    async def audit(self, ended: Collection[str] | None = None) -> list[Finding]:
        """Return all violations, see `commerce.audit.audit`, from pages as small as possible."""
        return [found for page in await self.audit_pages() for found in await self.call(audit.audit, page, ended)]

    async def audit_pages(self) -> list[Page]:
        """Return all pages of an audit, each as small as possible."""
        pages = []
        for kind in RULES:
            page = await self.call(audit.load_page, kind, None, 1)
            while page.keys:
                pages.append(page)
                page = await self.call(audit.load_page, kind, page.keys[-1], 1)
        return pages

    async def clear(self) -> None:
        """Delete everything."""
        await self.owner_sql(DELETE_ALL)

    async def variant(
        self, sku: str, *, managed: bool = True, backorder: bool = False, items: Mapping[str, int] | None = None
    ) -> None:
        """Create a variant. `items`: units of inventory items per unit; default: one of an item with the same SKU."""
        async with self.database.transaction() as tx:
            await tx.execute(insert(tables.Product).values(id=sku, title=sku.title()))
            await tx.execute(
                insert(tables.Variant).values(
                    id=sku, product_id=sku, sku=sku, manage_inventory=managed, allow_backorder=backorder
                )
            )
            if items is None:
                await tx.execute(insert(tables.InventoryItem).values(id=sku, sku=sku))
            for item, units in ({sku: 1} if items is None else items).items():
                part = {"variant_id": sku, "inventory_item_id": item, "required_quantity": units}
                await tx.execute(insert(tables.VariantInventoryItem).values(part))

    async def stock(self, sku: str, *, backorder: bool = False, **units: int) -> None:
        """Create a variant with stock, in units per location; locations named first have priority."""
        await self.variant(sku, backorder=backorder)
        await self.add_stock(sku, **units)

    async def add_stock(self, item: str, **units: int) -> None:
        """Add units to locations, or remove them if negative."""
        for location, quantity in units.items():
            await self.sql(
                """INSERT INTO locations (id, name, priority)
                   VALUES (:location, :location, (SELECT count(*) FROM locations)) ON CONFLICT DO NOTHING""",
                location=location,
            )
            await self.sql(
                """INSERT INTO inventory_levels AS level (inventory_item_id, location_id, stocked_quantity)
                   VALUES (:item, :location, greatest(:quantity, 0)) ON CONFLICT (inventory_item_id, location_id)
                   DO UPDATE SET stocked_quantity = level.stocked_quantity + :quantity""",
                item=item, location=location, quantity=quantity,
            )  # fmt: skip
            if quantity:
                await self.sql(
                    """INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
                       VALUES (:item, :location, :quantity, 'import', 'test')""",
                    item=item, location=location, quantity=quantity,
                )  # fmt: skip

    async def order(
        self, order_id: str, *lines: tuple[str, int], columns: Mapping[str, Any] | None = None, **units: int
    ) -> None:
        """Create a paid order, with lines as pairs or as `SKU=units`; an unknown SKU gets no variant."""
        order = {
            "id": order_id,
            "email": "ann@customer.example",
            "payment_status": "captured",
            "currency": "GBP",
            "total": 0,
            "shipping_method": "Standard",
            "shipping_country": "GB",
            "created_at": NOON,
            "content_hash": "",
        }
        known = set(await self.sql("SELECT sku FROM variants"))
        rows = [
            {
                "order_id": order_id,
                "position": position,
                "variant_id": sku if sku in known else None,
                "sku": sku,
                "title": sku.title(),
                "quantity": quantity,
                "unit_price": PRICE,
            }
            for position, (sku, quantity) in enumerate([*lines, *units.items()], start=1)
        ]
        order["total"] = sum(PRICE * int(str(row["quantity"])) for row in rows)
        async with self.database.transaction() as tx:
            await tx.execute(insert(tables.Order).values(order | dict(columns or {})))
            if rows:
                await tx.execute(insert(tables.OrderLine), rows)

    async def levels(self, item: str) -> dict[str, tuple[int, int]]:
        """Return stocked and reserved units per location."""
        query = """SELECT location_id, stocked_quantity, reserved_quantity FROM inventory_levels
                   WHERE inventory_item_id = :item ORDER BY location_id"""
        return {location: (stocked, reserved) for location, stocked, reserved in await self.sql(query, item=item)}

    async def reservations(self, order_id: str) -> list[tuple[int, str, str, int]]:
        """Return the order's reservations: position of the line, item, location, units."""
        query = """SELECT position, inventory_item_id, location_id, reservation.quantity
                   FROM reservations AS reservation JOIN order_lines AS line ON line.id = order_line_id
                   JOIN locations AS location ON location.id = location_id
                   WHERE reservation.order_id = :order_id ORDER BY position, inventory_item_id, priority"""
        return await self.sql(query, order_id=order_id)

    async def movements(self, item: str) -> list[tuple[str, int, str, str]]:
        """Return all movements except initial stock, sorted by location: location, units, reason, reference."""
        query = """SELECT location_id, quantity, reason, reference FROM stock_movements
                   WHERE inventory_item_id = :item AND reason <> 'import' ORDER BY location_id, id"""
        return await self.sql(query, item=item)

    async def events(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return the unpublished events: type, aggregate, data."""
        return await self.sql("SELECT type, aggregate, data FROM outbox_events ORDER BY sequence")

    async def order_columns(self, order_id: str, *columns: str) -> tuple[Any, ...]:
        """Return these columns of an order."""
        [row] = await self.sql(f"SELECT {', '.join(columns)}, 0 FROM orders WHERE id = :id", id=order_id)
        return tuple(row[:-1])

    async def breaches(self) -> list[str]:
        """Return the breached invariants of stock; there should never be any."""
        return await self.sql(BREACHES)
