"""Orders that someone waits for overtake those of the job for pending orders."""

from pathlib import Path

from temporalio.client import Client

from commerce.messages.pending_orders import PendingOrders
from starter.client import wait_for_result
from tests.polling import until
from tests.running_shop import running_shop

BACKLOG = 30
COMPLETED = (
    "SELECT order_id FROM fulfillments JOIN orders ON orders.id = order_id WHERE fulfillment_status = 'fulfilled'"
)


async def test_an_order_that_a_customer_waits_for_overtakes_the_job(
    tmp_path: Path, database_url: str, client: Client
) -> None:
    few = {"COMMERCE_WORKER_ACTIVITIES": "2"}
    async with running_shop(tmp_path, database_url, client, **few) as shop, shop.worker():
        await shop.data.stock("MUG", main=BACKLOG + 1)
        for number in range(BACKLOG):
            await shop.data.order(str(number), MUG=1)
        job = await shop.start_job("process-pending-orders", PendingOrders(at_once=BACKLOG))

        async def some_are_reserved() -> bool | None:
            return bool(await shop.data.sql("SELECT 1 FROM reservations LIMIT 1")) or None

        await until(some_are_reserved)
        await shop.data.order("urgent", MUG=1)
        await shop.process("urgent")
        left = BACKLOG + 1 - len(await shop.data.sql(COMPLETED))
        await wait_for_result(job)
        # Two workflow tasks and two steps run at once. Whenever it needs one, others may have it until they end.
        assert left >= BACKLOG - 8
