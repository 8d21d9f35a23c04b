"""The work of the database grows in proportion to an order's lines, whatever the planner knows about the tables."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import backlog, fulfillment, inventory, open_orders
from commerce.database import Database
from tests.commerce.shop import Shop

LINES = 250
TIMES = 4
MAX_GROWTH = 1.5 * TIMES  # work that grows with the square of the lines grows by 16

# A third of the lines are plain, a third can be backordered, and a third are kits of five items, all with a box. Half
# of the items are at one location, half at the other, so that each order has two fulfillments.
GOODS = f"""
    INSERT INTO locations VALUES ('main', 'main', 0), ('overflow', 'overflow', 1);
    INSERT INTO inventory_items SELECT name, name
        FROM (SELECT 'item-' || n FROM generate_series(1, {LINES * TIMES}) AS n UNION ALL SELECT 'box') AS item (name);
    INSERT INTO products SELECT 'variant-' || n, 'Mug' FROM generate_series(1, {LINES * TIMES}) AS n;
    INSERT INTO variants (id, product_id, sku, allow_backorder)
        SELECT 'variant-' || n, 'variant-' || n, 'variant-' || n, n % 3 = 1
        FROM generate_series(1, {LINES * TIMES}) AS n;
    INSERT INTO variant_inventory_items
        SELECT 'variant-' || n, 'item-' || n, 1 FROM generate_series(1, {LINES * TIMES}) AS n
        UNION ALL SELECT 'variant-' || n, 'item-' || 1 + (n + part * 7) % 100, 2
        FROM generate_series(2, {LINES * TIMES}, 3) AS n, generate_series(1, 3) AS part
        UNION ALL SELECT 'variant-' || n, 'box', 1 FROM generate_series(2, {LINES * TIMES}, 3) AS n
        ON CONFLICT DO NOTHING;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
        SELECT inventory_items.id, locations.id,
               CASE WHEN (hashtext(inventory_items.id) % 2 = 0) = (locations.id = 'main') THEN 100000 ELSE 1 END
        FROM inventory_items, locations
"""
ORDERS = """
    INSERT INTO orders (id, payment_status, currency, total, created_at, content_hash)
        SELECT '{id}-' || n, 'captured', 'GBP', 0, now(), '' FROM generate_series(1, {number}) AS n;
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT '{id}-' || n, position, 'variant-' || position, '', '', 3, 0
        FROM generate_series(1, {number}) AS n, generate_series(1, {lines}) AS position
"""
PENDING = text(f"SELECT count(*) FROM orders WHERE {open_orders.IS_PENDING}")
WAITING = backlog.COUNT_WAITING_FOR_PRODUCT
STEPS = {
    "lock needed": inventory.LOCK_NEEDED,
    "check": inventory.SHORTAGES,
    "reserve": inventory.RESERVE,
    "not reserved": fulfillment.NOT_RESERVED,
    "short": fulfillment.SHORT,
    "lock reserved": inventory.LOCK_RESERVED,
    "take": fulfillment.TAKE,
    "to ship": fulfillment.TO_SHIP,
    "lock fulfilled": fulfillment.LOCK_FULFILLED,
    "cancel": fulfillment.CANCEL,
    "release": inventory.RELEASE,
    "pending": PENDING,
}


class RolledBackError(Exception):
    """Raised to roll a transaction back."""


@pytest.fixture
async def shop(database: Database) -> AsyncIterator[Shop]:
    shop = Shop(database)
    await execute(shop, GOODS)
    yield shop


async def execute(shop: Shop, statements: str) -> None:
    for statement in statements.split(";"):
        await shop.sql(statement)


async def test_tables_without_statistics(shop: Shop) -> None:
    await measure_growth(shop)


async def test_tables_that_were_analyzed_while_they_were_empty(shop: Shop) -> None:
    """So they usually are: reservations are short-lived."""
    await execute(shop, ORDERS.format(id="earlier", number=1, lines=LINES * TIMES))
    with pytest.raises(RolledBackError):
        async with shop.database.transaction() as tx:
            await tx.execute(inventory.RESERVE, {"order_id": "earlier-1"})
            raise RolledBackError
    await shop.sql("ANALYZE")
    await measure_growth(shop)


async def test_a_generic_plan_made_for_small_orders(shop: Shop) -> None:
    """PostgreSQL makes such a plan after five executions in one connection."""
    await execute(shop, ORDERS.format(id="small", number=1_000, lines=1))
    await shop.sql("ANALYZE")
    await measure_growth(shop, "force_generic_plan")


async def measure_growth(shop: Shop, plans: str = "auto") -> None:
    """Check that no step does much more than four times the work for an order with four times the lines."""
    small, big = [await measure(shop, f"order-{lines}", lines, plans) for lines in (LINES, LINES * TIMES)]
    growth = {step: round(big[step] / small[step], 1) for step in STEPS}
    assert {step: factor for step, factor in growth.items() if factor > MAX_GROWTH} == {}


async def measure(shop: Shop, order: str, lines: int, plans: str) -> dict[str, int]:
    """Return the work of each step for a new order, whose changes are rolled back."""
    work = {}
    with pytest.raises(RolledBackError):
        async with shop.database.transaction() as tx:
            for statement in ORDERS.format(id=order, number=1, lines=lines).split(";"):
                await tx.execute(text(statement))
            await tx.execute(text("UPDATE orders SET waits_for_backorders = true"))
            await tx.execute(text("SELECT set_config('plan_cache_mode', :plans, true)"), {"plans": plans})
            for step, statement in STEPS.items():
                work[step] = await work_of(tx, statement, f"{order}-1")
            raise RolledBackError
    return work


async def work_of(tx: AsyncSession, statement: TextClause, order_id: str) -> int:
    """Execute a prepared statement; return the rows that its plan visits plus the blocks that it reads."""
    ids = list(await tx.scalars(text("SELECT CAST(id AS text) FROM fulfillments ORDER BY position")))
    values = {":order_id": f"'{order_id}'", ":ids": f"'{{{','.join(ids)}}}'", ":per_location": "true"}
    query = statement.text
    for place, name in enumerate(values, 1):
        query = query.replace(name, f"${place}")
    await tx.execute(text(f"PREPARE step (text, text[], boolean) AS {query}"))
    arguments = ", ".join(values.values())
    explained = await tx.execute(text(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) EXECUTE step ({arguments})"))
    await tx.execute(text("DEALLOCATE step"))
    answer = explained.scalar_one()
    [plan] = json.loads(answer) if isinstance(answer, str) else answer
    top = plan["Plan"]
    return visited(top) + int(top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def visited(node: dict[str, Any]) -> int:
    """Return the rows that a node and those below it returned or discarded, over all their loops."""
    rows = node["Actual Rows"] + sum(value for name, value in node.items() if name.startswith("Rows Removed by"))
    return int(rows * node["Actual Loops"]) + sum(visited(child) for child in node.get("Plans", ()))


async def test_orders_that_wait_for_products_are_found_without_reading_closed_ones(shop: Shop) -> None:
    """Closed ones have lines without a product, too: an imported history."""
    without_product = ORDERS.replace("'variant-' || position", "CAST(NULL AS text)")
    await execute(shop, without_product.format(id="open", number=50, lines=4))
    await shop.sql("ANALYZE")
    few = await measure_waiting(shop)
    await execute(shop, without_product.replace("captured", "refunded").format(id="closed", number=5_000, lines=4))
    await shop.sql("ANALYZE")
    many = await measure_waiting(shop)
    assert all(after <= 1.5 * before for before, after in zip(few, many, strict=True)), (few, many)


async def measure_waiting(shop: Shop) -> list[int]:
    """Return the work of counting pending orders and those that wait for products, with both kinds of plans."""
    work = []
    for plans in ("auto", "force_generic_plan"):
        async with shop.database.transaction() as tx:
            await tx.execute(text("SELECT set_config('plan_cache_mode', :plans, true)"), {"plans": plans})
            work += [await work_of(tx, statement, "") for statement in (PENDING, WAITING)]
    return work
