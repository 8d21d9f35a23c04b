"""Only a person ends the hold of an order and approves what it is on hold for (V1, V10)."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import Client, WorkflowFailureError

from activities.boundary.failures import failure_type
from commerce.errors import HighRisk
from commerce.messages.orders import order_process_id
from commerce.messages.pending_orders import PendingOrders
from commerce.pending_events import PendingEvent
from starter.client import start
from starter.operate.actions import retry
from starter.subscribers import process_changed_order, process_order
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.workflows.test_run_lifecycle import hold_reason


@pytest.fixture
def order_id() -> str:
    """An id that no other test uses, since Temporal knows the processes of all."""
    return uuid4().hex


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client, order_id: str) -> AsyncIterator[RunningShop]:
    """A shop with an order of high risk."""
    async with running_shop(tmp_path, database_url, client) as shop, shop.worker():
        await shop.data.stock("MUG", main=3)
        await shop.data.order(order_id, MUG=1, columns={"risk_level": "high"})
        yield shop


def event(kind: str, order_id: str, **data: object) -> PendingEvent:
    return PendingEvent(uuid4(), kind, f"order/{order_id}", {"order_id": order_id, **data})


async def test_v1_an_order_that_was_placed_is_not_approved_by_its_event(shop: RunningShop, order_id: str) -> None:
    await shop.data.sql("UPDATE orders SET hold_reason = 'failed: HighRisk'")
    await process_order(shop.client, event("order.placed", order_id))
    await wait_for_end(shop.handle(order_id))
    assert await hold_reason(shop, order_id) == "failed: HighRisk"
    assert (await shop.labels(order_id))["bought"] == 0


async def test_v1_neither_jobs_nor_changes_approve_an_order(shop: RunningShop, order_id: str) -> None:
    await process_order(shop.client, event("order.placed", order_id))
    await wait_for_end(shop.handle(order_id))
    assert await hold_reason(shop, order_id) == "failed: HighRisk"
    job = await start(shop.client, "process-pending-orders", PendingOrders())
    assert (await job.result())["seen"] == 0
    await process_changed_order(shop.client, event("order.updated", order_id, process="needed", revision=1))
    await wait_for_end(shop.handle(order_id))
    assert await hold_reason(shop, order_id) == "failed: HighRisk"
    assert len(shop.mails("order-failed", order_id)) == 1


async def test_v1_a_retry_approves_an_order(shop: RunningShop, order_id: str) -> None:
    assert isinstance(await shop.expect_failure(order_id), HighRisk)
    await retry(shop.client, shop.database, order_process_id(order_id), reason="a regular", actor="test")
    await wait_for_end(shop.handle(order_id))
    assert await shop.data.order_columns(order_id, "fulfillment_status", "hold_reason") == ("fulfilled", None)
    assert await shop.findings() == []


async def test_v10_an_order_that_is_not_open_is_refused_for_its_own_reason_although_it_was_held(
    shop: RunningShop, order_id: str
) -> None:
    await shop.data.sql("UPDATE orders SET hold_reason = 'by hand', cancelled_at = now()")
    await process_order(shop.client, event("order.placed", order_id))
    with pytest.raises(WorkflowFailureError) as refused:
        await shop.handle(order_id).result()
    assert failure_type(refused.value) == "OrderCancelled"
    assert await hold_reason(shop, order_id) == "by hand"  # if the shop takes the cancellation back
