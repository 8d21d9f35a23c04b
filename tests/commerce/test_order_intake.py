"""Orders that another system sends over HTTP, beside an import."""

import asyncio

from sqlalchemy import text

from commerce.database import Database
from commerce.imports import staging
from commerce.imports.new_order import NewOrder, NewOrderLine
from commerce.order_intake import store_order
from tests.commerce.shop import NOON, Shop

ORDER = NewOrder(
    id="1001",
    email=None,
    payment_status="captured",
    fulfillment_status="not_fulfilled",
    currency="GBP",
    shipping_total=0,
    total=250,
    shipping_method=None,
    shipping_name=None,
    shipping_address1=None,
    shipping_city=None,
    shipping_zip=None,
    shipping_province=None,
    shipping_country=None,
    shipping_phone=None,
    created_at=NOON,
    paid_at=None,
    cancelled_at=None,
    lines=(NewOrderLine("MUG", "Mug", 1, 250, requires_shipping=True),),
)
WAITING = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


async def test_an_order_that_waits_for_an_import_has_an_event_from_after_the_wait(database: Database) -> None:
    """Otherwise a run that missed the order while it waited would seem to have started after the event."""
    shop = Shop(database)
    async with database.transaction() as importing:
        await importing.execute(staging.LOCK)
        storing = asyncio.create_task(shop.call(store_order, ORDER))
        async with asyncio.timeout(60):
            while not await importing.scalar(WAITING):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)
        [missed_at] = await shop.sql("SELECT clock_timestamp()")
    assert await storing
    [stored_at] = await shop.sql("SELECT created_at FROM outbox_events")
    assert stored_at > missed_at
