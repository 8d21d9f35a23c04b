"""Orders that another system sends over HTTP, beside an import."""

import asyncio

from commerce.database import Database
from commerce.imports import staging
from commerce.imports.new_order import NewOrder
from commerce.imports.order_parser import OrderHead, OrderLine, parse_order
from commerce.order_intake import store_order
from tests.commerce.shop import Shop
from tests.polling import until_lock_wait

HEAD = OrderHead(id="1001", financial_status="paid", created_at="2026-03-02T12:00:00Z")
ORDER = parse_order(HEAD, [OrderLine("MUG", "Mug", 1, "2.50", requires_shipping=True)], currency="GBP")
assert isinstance(ORDER, NewOrder)


async def test_an_order_that_waits_for_an_import_has_an_event_from_after_the_wait(database: Database) -> None:
    """Otherwise a run that missed the order while it waited would seem to have started after the event."""
    shop = Shop(database)
    async with database.transaction() as importing:
        await importing.execute(staging.LOCK)
        storing = asyncio.create_task(shop.call(store_order, ORDER))
        async with asyncio.timeout(60):
            await until_lock_wait(shop.sql)
        [missed_at] = await shop.sql("SELECT clock_timestamp()")
    assert await storing
    [stored_at] = await shop.sql("SELECT created_at FROM outbox_events")
    assert stored_at > missed_at
