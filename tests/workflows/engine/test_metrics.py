"""Test the process metrics of a worker: each process that ends is counted once, by its outcome."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowFailureError, WorkflowHandle

from commerce.messages.carts import CleanUpCarts
from starter.client import connect
from starter.processes import TASK_QUEUE
from starter.telemetry.metrics import create_runtime
from tests.conftest import free_port
from tests.faults import Faults, Gate
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.scraping import Scrape, scrape

INSERT_EXPIRED_CART = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    VALUES (:id, 'GBP', now() - interval '30 days', now() - interval '30 days')
"""


@pytest.fixture
def metrics_address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def shop(
    tmp_path: Path, database_url: str, temporal_server: str, metrics_address: str
) -> AsyncIterator[RunningShop]:
    """A shop whose workers export metrics."""
    client = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}, create_runtime(metrics_address))
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=5)
        yield shop


@pytest.fixture
def order_id() -> str:
    """Return an order id that no other test uses."""
    return uuid4().hex


async def scrape_metrics(metrics_address: str) -> Scrape:
    return await scrape(f"http://{metrics_address}/metrics")


def outcomes(metrics: Scrape, process_type: str = "order-processing") -> dict[str, float]:
    return metrics.by("outcome", "commerce_runs_total", workflow_type=process_type)


async def test_a_fulfilled_order_and_its_mail_are_counted(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.process(order_id)
    metrics = await scrape_metrics(metrics_address)
    assert outcomes(metrics) == {"fulfilled": 1}
    assert metrics.value("commerce_mails_total", kind="order-shipped", status="sent") == 1


async def test_an_order_short_of_stock_counts_each_variant_that_is_short(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    await shop.data.stock("CUP", main=0)
    await shop.data.order(order_id, MUG=9, CUP=1)
    async with shop.worker():
        await shop.process(order_id)
    metrics = await scrape_metrics(metrics_address)
    assert outcomes(metrics) == {"insufficient_inventory": 1}
    assert metrics.value("commerce_stock_outs_total") == 2
    assert metrics.value("commerce_mails_total", kind="insufficient-inventory", status="sent") == 1


async def test_a_failed_order_counts_its_undone_steps_and_its_failed_undos(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker([Faults({"complete-order": "before", "release-inventory": "before"})]):
        await shop.expect_failure(order_id)
    metrics = await scrape_metrics(metrics_address)
    assert outcomes(metrics) == {"failed": 1}
    assert metrics.by("step", "commerce_steps_undone_total") == {"create-shipping-label": 1, "create-fulfillment": 1}
    assert metrics.by("step", "commerce_undo_failures_total") == {"reserve-inventory": 1}


async def test_a_cancelled_order_is_not_counted_as_failed(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    gate = Gate("create-fulfillment")
    async with shop.worker([gate]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        await wait_for_end(handle)
    assert outcomes(await scrape_metrics(metrics_address)) == {"cancelled": 1}


async def test_a_run_that_another_worker_replays_is_counted_once(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    """The second worker has not cached the run and replays it from the start."""
    await shop.data.order(order_id, MUG=1)
    gate = Gate("hold-order")
    async with shop.worker([Faults({"complete-order": "before"}), gate]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        before = await scrape_metrics(metrics_address)
        gate.opened.set()
    assert sum(before.by("step", "commerce_steps_undone_total").values()) == 3
    async with shop.worker():
        await wait_for_end(handle)
    metrics = await scrape_metrics(metrics_address)
    assert sum(metrics.by("step", "commerce_steps_undone_total").values()) == 3
    assert outcomes(metrics) == {"failed": 1}


async def test_a_job_counts_its_items_by_result(shop: RunningShop, metrics_address: str, order_id: str) -> None:
    for number in range(3):
        await shop.data.sql(INSERT_EXPIRED_CART, id=f"{order_id}-{number}")
    async with shop.worker():
        await shop.client.execute_workflow(
            "cleanup-expired-carts", CleanUpCarts(), id=f"cleanup-expired-carts-{order_id}", task_queue=TASK_QUEUE
        )
    metrics = await scrape_metrics(metrics_address)
    assert outcomes(metrics, "cleanup-expired-carts") == {"completed": 1}
    items = metrics.by("result", "commerce_job_items_total", workflow_type="cleanup-expired-carts")
    assert items == {"seen": 3, "changed": 3}
    assert metrics.value("commerce_job_items_total", result="failed") == 0


async def test_a_run_of_a_job_beside_another_one_is_counted_as_refused(
    shop: RunningShop, metrics_address: str, order_id: str
) -> None:
    async def start(number: int) -> WorkflowHandle[Any, Any]:
        return await shop.client.start_workflow(
            "cleanup-expired-carts", CleanUpCarts(), id=f"{order_id}-{number}", task_queue=TASK_QUEUE
        )

    async with shop.worker([gate := Gate("delete-expired-carts")]):
        working = await start(1)
        await gate.reached.wait()
        with pytest.raises(WorkflowFailureError):
            await (await start(2)).result()
        assert outcomes(await scrape_metrics(metrics_address), "cleanup-expired-carts") == {"refused": 1}
        gate.opened.set()
        await working.result()


async def test_a_mail_that_fails_permanently_is_counted_as_failed(
    tmp_path: Path, database_url: str, temporal_server: str, metrics_address: str, order_id: str
) -> None:
    client = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}, create_runtime(metrics_address))
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.stock("MUG", main=5)
        await shop.data.order(order_id, MUG=1)
        async with shop.worker([Faults({"send-notification": "before", "alert-admins": "before"})]):
            assert not (await shop.process(order_id)).notification_sent
    metrics = await scrape_metrics(metrics_address)
    assert metrics.value("commerce_mails_total", kind="order-shipped", status="failed") == 1
    assert metrics.value("commerce_mails_total", kind="notification-failed", status="sent") == 1  # by the last attempt
