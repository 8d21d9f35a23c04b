"""What a shop does with an order, a cart or a customer reads as few rows of a large table as of a small one."""

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, get_args

import asyncpg
import pytest
from temporalio.client import Client

from commerce import backlog, fulfillment_export
from commerce.messages.analytics import Analytics
from commerce.messages.carts import CleanUpCarts
from commerce.messages.jobs import JobInput
from commerce.messages.order_views import OrderStatus
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.upkeep import Upkeep
from commerce.queries.orders import OrderFilter, find_order, list_orders, load_order
from commerce.queries.records import list_events, list_notifications
from commerce.queries.stock import list_movements, list_stock, load_item
from starter.client import register_customer, wait_for_result
from starter.devstack.postgres import MIGRATOR
from tests.conftest import DEADLINE, run_sql
from tests.running_shop import RunningShop, relaying, running_shop
from tests.servers import url_of
from tests.starter.api.api_client import create_api, in_process_client

ROWS = 20_000  # of each large table, or more
MOST = 2_000  # rows of a large table that one of the actions below may read, by scans and by indexes
SKUS, DAYS = 100, 1_000
NEW_ORDER = {
    "name": "new",
    "email": "ann@customer.example",
    "financial_status": "paid",
    "currency": "GBP",
    "shipping": "3.95",
    "shipping_method": "Standard",
    "created_at": "2026-03-02T12:00:00Z",
    "shipping_name": "Ann Lee",
    "shipping_address1": "1 High Street",
    "shipping_city": "London",
    "shipping_zip": "N1 9GU",
    "shipping_country": "GB",
    "lines": [{"quantity": 2, "name": "Mug", "price": "12.50", "sku": "SKU-7"}],
}
# A shop that has fulfilled many orders, and has as many customers, carts, mails, events and webhooks of its platform.
# Records that upkeep would delete are new.
HISTORY = f"""
    CREATE TEMPORARY TABLE old ON COMMIT DROP AS
        SELECT n, 'old-' || n AS id, 'SKU-' || n % {SKUS} AS sku,
               timestamptz '2026-02-01' - n % {DAYS} * interval '1 day' AS at
        FROM generate_series(1, {ROWS}) AS n;
    INSERT INTO locations (id, name) VALUES ('main', 'main');
    INSERT INTO products (id, title) SELECT DISTINCT sku, sku FROM old;
    INSERT INTO variants (id, product_id, sku) SELECT id, id, id FROM products;
    INSERT INTO inventory_items (id, sku) SELECT id, id FROM products;
    INSERT INTO variant_inventory_items (variant_id, inventory_item_id) SELECT id, id FROM products;
    INSERT INTO inventory_levels (inventory_item_id, location_id, stocked_quantity)
        SELECT id, 'main', 100 FROM products;
    INSERT INTO customers (email, created_at) SELECT id || '@customer.example', at FROM old;
    INSERT INTO orders (id, customer_id, email, payment_status, fulfillment_status, currency, total, shipping_method,
                        shipping_country, created_at, content_hash, external_id, name_key)
        SELECT old.id, customers.id, email, 'captured', 'fulfilled', 'GBP', 250, 'Standard', 'GB', at, '', old.id,
               old.id
        FROM old JOIN customers ON email = old.id || '@customer.example';
    INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
        SELECT id, 1, sku, sku, sku, 1, 250 FROM old;
    INSERT INTO fulfillments (order_id, required_units, created_at, completed_at, export_number)
        SELECT id, 1, at, at, n FROM old;
    INSERT INTO fulfillment_items (fulfillment_id, order_line_id, inventory_item_id, location_id, quantity)
        SELECT fulfillments.id, order_lines.id, sku, 'main', 1
        FROM order_lines JOIN fulfillments USING (order_id);
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT sku, 'main', -1, 'fulfillment', id, at FROM old;
    INSERT INTO stock_movements (inventory_item_id, location_id, quantity, reason, reference, created_at)
        SELECT id, 'main', 100 + {ROWS} / {SKUS}, 'import', 'test', timestamptz '2020-01-01' FROM products;
    INSERT INTO notifications (key, kind, recipient, order_id, status, message_id, created_at, sent_at)
        SELECT 'order-shipped/' || id, 'order-shipped', 'x@customer.example', id, 'sent', id, now(), now() FROM old;
    INSERT INTO outbox_events (id, type, aggregate, data, created_at, published_at, handled_at)
        SELECT uuidv7(), 'order.fulfilled', 'order/' || id, '{{}}', now(), now(), now() FROM old;
    INSERT INTO process_generations (business_key, generation, started_at)
        SELECT 'order-processing-' || id, id, now() FROM old;
    INSERT INTO step_ledger (business_key, generation, step, state, call, created_at, updated_at)
        SELECT 'order-processing-' || id, id, step, 'done', '{{}}', now(), now()
        FROM old, unnest(ARRAY['reserve-inventory', 'create-fulfillment', 'complete-order']) AS step;
    INSERT INTO carts (id, currency, created_at, updated_at, completed_at) SELECT id, 'GBP', at, at, at FROM old;
    INSERT INTO cart_lines (cart_id, variant_id, sku, quantity, unit_price) SELECT id, sku, sku, 1, 250 FROM old;
    INSERT INTO refunds (order_id, amount, known_at) SELECT id, 1, at FROM old;
    INSERT INTO intake_deliveries (platform, delivery_id, content_hash, topic, source, received_at, status, order_id)
        SELECT 'shopify', id, id, 'orders/paid', 'shop', now(), 'stored', id FROM old;
    SELECT setval('fulfillment_export_numbers', {ROWS});
"""
LARGE = """
    SELECT relname FROM pg_class
    WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND reltuples >= $1
"""
# Rows that scans of tables and of their indexes have returned.
READ = """
    SELECT relname, seq_tup_read + coalesce(
        (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes AS used WHERE used.relid = tables.relid), 0)
    FROM pg_stat_user_tables AS tables
"""
OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

Action = Callable[[RunningShop], Coroutine[Any, Any, object]]


@pytest.fixture
async def large_url(database_url: str) -> str:
    owner = url_of(MIGRATOR, database_url)
    await run_sql(owner, f"BEGIN; {HISTORY}; COMMIT")
    await run_sql(owner, "ANALYZE")
    return database_url


async def rows_read(url: str) -> dict[str, int]:
    """Return the rows that were read of each large table, as soon as all connections have reported theirs."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(DEADLINE):
            while await connection.fetchval(OTHERS):  # noqa: ASYNC110 - polls a server; a connection reports at its end
                await asyncio.sleep(0.02)
        large = {row["relname"] for row in await connection.fetch(LARGE, ROWS)}
        return {name: int(rows) for name, rows in await connection.fetch(READ) if name in large}
    finally:
        await connection.close()


async def run_job(shop: RunningShop, kind: str, options: JobInput) -> object:
    return await wait_for_result(await shop.start_job(kind, options))


async def new_order(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop)) as http, relaying(shop):
        answer = await http.put("/orders/new", json=NEW_ORDER)
        assert answer.status_code == 201, answer.text
    assert (await shop.process("new")).status == "fulfilled"


async def changed_order(shop: RunningShop) -> None:
    async with in_process_client(create_api(shop)) as http:
        changes = {"shipping_city": "Leeds", "updated_at": "2026-03-03T12:00:00Z"}
        answer = await http.put("/orders/new", json=NEW_ORDER | changes)
        assert answer.status_code == 200, answer.text


async def customer(shop: RunningShop) -> None:
    await register_customer(
        shop.client, email="new@customer.example", password="correct horse", first_name="Ann", last_name="Lee"
    )


async def expired_carts(shop: RunningShop) -> None:
    await shop.data.sql("INSERT INTO carts VALUES ('open', NULL, 'GBP', '2020-01-01', '2020-01-01', NULL, NULL)")
    await run_job(shop, "cleanup-expired-carts", CleanUpCarts())


async def pending_orders(shop: RunningShop) -> None:
    await shop.data.sql(
        """INSERT INTO orders (id, payment_status, currency, total, shipping_method, shipping_country, created_at,
                               content_hash) VALUES ('pending', 'captured', 'GBP', 250, '', 'GB', now(), '')"""
    )
    await shop.data.sql(
        """INSERT INTO order_lines (order_id, position, variant_id, sku, title, quantity, unit_price)
           VALUES ('pending', 1, 'SKU-3', 'SKU-3', 'Mug', 1, 250)"""
    )
    await run_job(shop, "process-pending-orders", PendingOrders())


async def report_of_a_day(shop: RunningShop) -> None:
    await run_job(shop, "collect-analytics-data", Analytics(date=date(2026, 1, 15)))


async def upkeep(shop: RunningShop) -> None:
    await run_job(shop, "upkeep", Upkeep())


async def gauges(shop: RunningShop) -> None:
    await shop.data.call(backlog.measure)


async def next_export(shop: RunningShop) -> None:
    await shop.data.call(fulfillment_export.load_page, ROWS)


async def lists_of_orders(shop: RunningShop) -> None:
    for selected in (
        OrderFilter(),
        *(OrderFilter(status=status) for status in get_args(OrderStatus)),
        OrderFilter(hold_reason="rejected"),
        OrderFilter(since=datetime(2025, 3, 1, tzinfo=UTC), until=datetime(2025, 3, 2, tzinfo=UTC)),
    ):
        await shop.data.call(list_orders, selected, cursor="old-500")


async def searched_orders(shop: RunningShop) -> None:
    assert (await shop.data.call(list_orders, OrderFilter(search="old-7@customer.example"))).orders
    assert not (await shop.data.call(list_orders, OrderFilter(search="nobody"))).orders


async def order_in_full(shop: RunningShop) -> None:
    order_id = await shop.data.call(find_order, "#old-500", default_source="shop")
    assert (await shop.data.call(load_order, order_id)).fulfillments


async def lists_of_mails_events_and_movements(shop: RunningShop) -> None:
    for options in ({}, {"status": "sent"}, {"status": "failed"}, {"order_id": "old-7"}):
        await shop.data.call(list_notifications, **options, cursor="order-shipped/old-7")
    first = await shop.data.call(list_events)
    for more in ({"unpublished": True}, {"about": "order/old-7"}):
        await shop.data.call(list_events, **more, cursor=first.next_cursor)
    moved = await shop.data.call(list_movements, "SKU-7")
    await shop.data.call(list_movements, "SKU-7", cursor=moved.next_cursor)
    await shop.data.call(load_item, "SKU-7")
    await shop.data.call(list_stock, oversold=True)


ACTIONS: tuple[Action, ...] = (
    *(new_order, changed_order, customer, expired_carts),
    *(pending_orders, report_of_a_day, upkeep, gauges, next_export),
    *(lists_of_orders, searched_orders, order_in_full, lists_of_mails_events_and_movements),
)


@pytest.mark.timeout(600)
@pytest.mark.waits(15)
async def test_no_action_reads_a_large_table(large_url: str, tmp_path: Path, client: Client) -> None:
    most: dict[tuple[str, str], int] = {}
    before = await rows_read(large_url)
    assert {"orders", "order_lines", "stock_movements", "step_ledger", "outbox_events"} < before.keys()
    for action in ACTIONS:
        folder = tmp_path / action.__name__
        folder.mkdir()
        async with running_shop(folder, large_url, client) as shop, shop.worker():
            await action(shop)
        after = await rows_read(large_url)
        most |= {(action.__name__, table): rows - before[table] for table, rows in after.items()}
        before = after
    assert {found: rows for found, rows in most.items() if rows > MOST} == {}
