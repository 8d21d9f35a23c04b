"""A worker and its relay whose database is behind a real PgBouncer in transaction mode."""

import asyncio
from pathlib import Path

from temporalio.client import Client

from commerce.messages.pending_orders import PendingOrders, PendingOrdersResult
from starter.client import wait_for_result
from tests.pooler import NEEDS_PGBOUNCER, running_pooler
from tests.running_shop import relaying, running_shop

pytestmark = NEEDS_PGBOUNCER

ORDERS = 12  # more than the pooler has connections


async def test_orders_and_jobs_are_processed_through_a_pooler(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    with running_pooler(tmp_path / "pooler", database_url) as pooler_url:
        urls = {"COMMERCE_DATABASE_URL": pooler_url, "COMMERCE_DIRECT_DATABASE_URL": database_url}
        async with running_shop(tmp_path, database_url, client, **urls) as shop, shop.worker(), relaying(shop):
            await shop.data.stock("MUG", main=ORDERS)
            for number in range(ORDERS + 1):
                await shop.data.order(str(number), MUG=1)
            results = await asyncio.gather(*(shop.process(str(number)) for number in range(ORDERS)))
            assert {result.status for result in results} == {"fulfilled"}
            pending = await shop.start_job("process-pending-orders", PendingOrders())
            counts = PendingOrdersResult.model_validate(await wait_for_result(pending))
            assert counts.insufficient_inventory == 1
            assert await shop.findings() == []
