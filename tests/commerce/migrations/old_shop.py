"""A filled shop of the oldest revision to migrate, and helpers to query its database."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import create_async_engine

from commerce import migrations
from commerce.postgres import DIALECT, connect

REVISIONS = [script.revision for script in ScriptDirectory.from_config(migrations.alembic_config()).walk_revisions()][
    ::-1
]

# Rows for the tables of revision 0001; the test of each later revision migrates them to it first.
FILL = """
    INSERT INTO customer_groups (name) VALUES ('registered');
    INSERT INTO customers (email) SELECT 'customer-' || n || '@shop.example' FROM generate_series(1, 300) AS n;
    INSERT INTO customer_group_members SELECT customer_groups.id, customers.id FROM customer_groups, customers;
    INSERT INTO auth_users (customer_id, password_hash) SELECT id, 'hash' FROM customers;
    INSERT INTO locations VALUES ('main', 'main', 0);
    INSERT INTO products SELECT 'p' || n, 'Product' FROM generate_series(1, 300) AS n;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM products;
    INSERT INTO inventory_items SELECT id, id FROM products;
    INSERT INTO variant_inventory_items SELECT id, id, 1 FROM products;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity) SELECT id, 'main', 9 FROM products;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference)
        SELECT id, 'main', 9, 'import', 'first' FROM products;
    INSERT INTO orders (id, customer_id, email, payment_status, currency, total, created_at, content_hash)
        SELECT email, id, email, 'captured', 'GBP', 250, now(), '' FROM customers;
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT id, 1, 'p1', 'p1', 'Product', 1, 250 FROM orders;
    INSERT INTO reservations (order_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT order_id, id, 'p1', 'main', 1 FROM order_lines;
    INSERT INTO fulfillments (order_id) SELECT id FROM orders;
    INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT fulfillments.id, order_lines.id, 'p1', 'main', 1 FROM fulfillments JOIN order_lines USING (order_id);
    INSERT INTO notifications (key, kind, recipient, order_id, status, message_id)
        SELECT id, 'order-shipped', email, id, 'sent', '<' || id || '>' FROM orders;
    INSERT INTO carts (id, currency, created_at, updated_at) SELECT id, 'GBP', now(), now() FROM orders;
    INSERT INTO cart_lines (cart_id, variant_id, sku, quantity, unit_price) SELECT id, 'p1', 'p1', 1, 250 FROM carts;
    INSERT INTO outbox_events (id, type, aggregate, data, published_at)
        SELECT gen_random_uuid(), 'order.placed', 'order/' || id, '{}', CASE WHEN id > 'customer-2' THEN now() END
        FROM orders;
    INSERT INTO process_generations SELECT id, 'g', now() FROM orders;
    INSERT INTO step_ledger (business_key, generation, step, state, call) SELECT id, 'g', 's', 'done', '{}' FROM orders;
    INSERT INTO daily_metrics (day, currency, orders, revenue, average_order_value, new_customers, returning_customers,
                               top_products) VALUES ('2026-03-01', 'GBP', 1, 1, 1, 1, 0, '[]');
    INSERT INTO webhook_endpoints (url, secret, event_types) VALUES ('https://hook.example', 'secret', '[]');
    ANALYZE;
"""


async def check_schema(url: str) -> None:
    """Fail with the differences if the schema does not match tables.py."""
    engine = create_async_engine(DIALECT, async_creator=partial(connect, url))

    def check(connection: Connection) -> None:
        command.check(migrations.alembic_config(connection))

    async with engine.connect() as connection:
        await connection.run_sync(check)
    await engine.dispose()


@asynccontextmanager
async def reading(url: str, query: str) -> AsyncIterator[None]:
    """Run a query in a transaction that stays open during the block."""
    connection = await asyncpg.connect(url)
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(query)
        yield
    await connection.close()


async def fetch_column(url: str, query: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(query)
    await connection.close()
    return [value for (value,) in rows]


async def until_found(url: str, query: str) -> None:
    """Wait until a query returns a row."""
    async with asyncio.timeout(60):
        while not await fetch_column(url, query):  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)
