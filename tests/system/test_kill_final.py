"""Workers are killed around the local final step of an order: history lags behind the ledger, which is right (E10)."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import Client

from tests.running_shop import RunningShop, running_shop
from tests.system.test_kill import check, create_orders, wait_for_all
from tests.system.workers import WorkerProcesses

pytestmark = pytest.mark.waits(20)

# By order: the point where its worker hangs when it is killed. The first part is the outcome of an order with a cancel
# that arrives while no worker runs. `unshipped` and `released` orders have local steps only.
POINTS = {
    "refunded.before": "complete-order before",
    "fulfilled.after": "complete-order after",
    "fulfilled.before-mail": "send-notification before",
    "fulfilled.in-mail": "send-notification before-send",
    "unshipped.after": "complete-order after",
    "unshipped.before-mail": "send-notification before",
}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        yield running


async def hang(shop: RunningShop, workers: WorkerProcesses, points: dict[str, str]) -> None:
    """Start the orders, kill their worker when all of them hang."""
    await create_orders(shop, points)
    first = await workers.start_pausing(points)
    await asyncio.gather(*map(shop.start, points))
    await workers.wait_until_hanging(*points)
    await first.kill()


async def test_a_cancel_while_no_worker_runs_is_obeyed_before_the_commit_and_too_late_after_it(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E10, E11)
    await hang(shop, workers, POINTS)
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in POINTS))
    await workers.start()
    await wait_for_all(shop, POINTS)
    await check(shop, POINTS)


async def test_orders_are_fulfilled_once_without_a_cancel(shop: RunningShop, workers: WorkerProcesses) -> None:  # (E11)
    points = {order_id.replace("refunded", "fulfilled"): point for order_id, point in POINTS.items()}
    await hang(shop, workers, points)
    await workers.start()
    await wait_for_all(shop, points)
    await check(shop, points)


async def test_a_worker_that_is_killed_on_the_way_out_does_not_undo_a_fulfilled_order(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E10, E11)
    """Two workers are lost: one after the final step, one after the ledger was asked. Each time somebody cancels."""
    orders = {f"{kind}.{place}": place for kind in ("fulfilled", "unshipped") for place in ("before", "after")}
    await hang(shop, workers, dict.fromkeys(orders, "complete-order after"))
    second = await workers.start_pausing({order_id: f"close-generation {place}" for order_id, place in orders.items()})
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in orders))
    await workers.wait_until_hanging(*orders)
    await second.kill()
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in orders))
    await workers.start()
    await wait_for_all(shop, orders)
    await check(shop, orders)
