"""Orders with two parcels end correctly, with each label bought and refunded once, although workers are killed."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.running_shop import RunningShop, running_shop
from tests.system.test_kill import CANCEL_ORDER_FUNCTION, CANCEL_ORDER_TRIGGER, wait_for_all
from tests.system.workers import WorkerProcesses, points_by_outcome

pytestmark = pytest.mark.waits(60)

COMPLETED, FAILED, CANCELLED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)

# As in test_kill.py: the expected outcome, and the points where the worker hangs when killed. An undo has the key of
# its step: `create-shipping-label before-refund` is a point in the undo of the first label.
POINTS = """
    fulfilled  create-fulfillment       before after
    fulfilled  create-shipping-label    after-buy after
    fulfilled  create-shipping-label/2  before before-create after-create before-buy after-buy after
    fulfilled  complete-order           before after
    cancelled  create-shipping-label/2  before-refund after-refund
    cancelled  create-shipping-label    before-refund after-refund
    cancelled  cancel-fulfillments      before after
    stopped    create-fulfillment       after
    stopped    create-shipping-label    after
    stopped    create-shipping-label/2  before after-create before-buy after-buy after
"""
LIVE = "SELECT count(*) FROM fulfillments WHERE cancelled_at IS NULL AND order_id = :id"
# run, labels that are live, live fulfillments, stock of both items (two are stocked at first)
OUTCOMES = {
    "fulfilled": (COMPLETED, 2, 2, [(1, 0), (1, 0)]),
    "cancelled": (FAILED, 0, 0, [(2, 0), (2, 0)]),
    "stopped": (CANCELLED, 0, 0, [(2, 0), (2, 0)]),
}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.owner_sql(CANCEL_ORDER_FUNCTION)
        await running.data.owner_sql(CANCEL_ORDER_TRIGGER)
        yield running


async def outcome_of(shop: RunningShop, order_id: str) -> tuple[object, ...]:
    labels = await shop.labels(order_id)
    assert labels["bought"] <= 2, order_id
    [live] = await shop.data.sql(LIVE, id=order_id)
    stock = [level for sku in ("a", "b") for level in (await shop.data.levels(f"{order_id}.{sku}")).values()]
    return await shop.status(order_id), labels["live"], live, stock


async def test_both_parcels_end_correctly_after_a_kill_inside_each_step_and_undo(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (V15, E11)
    points = points_by_outcome(POINTS)
    for order_id in points:
        await shop.data.stock(f"{order_id}.a", main=2)
        await shop.data.stock(f"{order_id}.b", overflow=2)
        await shop.data.order(order_id, (f"{order_id}.a", 1), (f"{order_id}.b", 1))
    first = await workers.start_pausing(points)
    await asyncio.gather(*(shop.start(order_id) for order_id in points))
    await workers.wait_until_hanging(*points)
    stopped = [order_id for order_id in points if order_id.startswith("stopped")]
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in stopped))
    await first.kill()

    await workers.start()
    await wait_for_all(shop, points)
    found = {order_id: await outcome_of(shop, order_id) for order_id in points}
    assert {order_id: end for order_id, end in found.items() if end != OUTCOMES[order_id.split(".")[0]]} == {}
    # One alert per run. Mails can arrive twice with the same Message-ID, see (N1).
    alerts = {(mail["X-Commerce-Key"], mail["Message-ID"]) for mail in shop.mails("order-failed")}
    failed = [order_id for order_id in points if order_id.startswith("cancelled")]
    assert sorted(key.split("/")[1] for key, _ in alerts) == sorted(failed)
    assert await shop.findings() == []
