"""What a worker counts of the processes that end in it: each once, by how it ended."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from commerce.messages.carts import CleanUpCarts
from starter.client import connect
from starter.processes import TASK_QUEUE
from starter.telemetry.metrics import create_runtime
from tests.conftest import free_port
from tests.faults import Faults, Gate
from tests.keys import ENCRYPTION_ENV
from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.scraping import Scrape, scrape

CART = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    VALUES (:id, 'GBP', now() - interval '30 days', now() - interval '30 days')
"""


@pytest.fixture
def address() -> str:
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, temporal_server: str, address: str) -> AsyncIterator[RunningShop]:
    """A shop whose workers are measured."""
    measured = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}, create_runtime(address))
    async with running_shop(tmp_path, database_url, measured) as made:
        await made.data.stock("MUG", main=5)
        yield made


@pytest.fixture
def order_id() -> str:
    """An order that no other test knows."""
    return uuid4().hex


async def counted(address: str) -> Scrape:
    return await scrape(f"http://{address}/metrics")


def outcomes(told: Scrape, kind: str = "order-processing") -> dict[str, float]:
    return told.by("outcome", "commerce_runs_total", workflow_type=kind)


async def test_a_fulfilled_order_and_its_mail(shop: RunningShop, address: str, order_id: str) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker():
        await shop.process(order_id)
    told = await counted(address)
    assert outcomes(told) == {"fulfilled": 1}
    assert told.value("commerce_mails_total", kind="order-shipped", status="sent") == 1


async def test_an_order_short_of_stock_counts_what_was_short(shop: RunningShop, address: str, order_id: str) -> None:
    await shop.data.stock("CUP", main=0)
    await shop.data.order(order_id, MUG=9, CUP=1)
    async with shop.worker():
        await shop.process(order_id)
    told = await counted(address)
    assert outcomes(told) == {"insufficient_inventory": 1}
    assert told.value("commerce_stock_outs_total") == 2
    assert told.value("commerce_mails_total", kind="insufficient-inventory", status="sent") == 1


async def test_a_failed_order_counts_what_was_undone_and_what_could_not_be(
    shop: RunningShop, address: str, order_id: str
) -> None:
    await shop.data.order(order_id, MUG=1)
    async with shop.worker([Faults({"complete-order": "before", "release-inventory": "before"})]):
        await shop.expect_failure(order_id)
    told = await counted(address)
    assert outcomes(told) == {"failed": 1}
    assert told.by("step", "commerce_steps_undone_total") == {"create-shipping-label": 1, "create-fulfillment": 1}
    assert told.by("step", "commerce_undo_failures_total") == {"reserve-inventory": 1}


async def test_a_cancelled_order_is_no_failed_one(shop: RunningShop, address: str, order_id: str) -> None:
    await shop.data.order(order_id, MUG=1)
    gate = Gate("create-fulfillment")
    async with shop.worker([gate]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        await wait_for_end(handle)
    assert outcomes(await counted(address)) == {"cancelled": 1}


async def test_a_run_that_another_worker_replays_counts_once(shop: RunningShop, address: str, order_id: str) -> None:
    """The second worker knows nothing of the run, and reads it from its beginning."""
    await shop.data.order(order_id, MUG=1)
    gate = Gate("hold-order")
    async with shop.worker([Faults({"complete-order": "before"}), gate]):
        handle = await shop.start(order_id)
        await gate.reached.wait()
        before = await counted(address)
        gate.opened.set()
    assert sum(before.by("step", "commerce_steps_undone_total").values()) == 3
    async with shop.worker():
        await wait_for_end(handle)
    told = await counted(address)
    assert sum(told.by("step", "commerce_steps_undone_total").values()) == 3
    assert outcomes(told) == {"failed": 1}


async def test_a_job_counts_what_it_did_by_its_own_names(shop: RunningShop, address: str, order_id: str) -> None:
    for number in range(3):
        await shop.data.sql(CART, id=f"{order_id}-{number}")
    async with shop.worker():
        await shop.client.execute_workflow(
            "cleanup-expired-carts", CleanUpCarts(), id=f"cleanup-expired-carts-{order_id}", task_queue=TASK_QUEUE
        )
    told = await counted(address)
    assert outcomes(told, "cleanup-expired-carts") == {"completed": 1}
    items = told.by("result", "commerce_job_items_total", workflow_type="cleanup-expired-carts")
    assert items == {"seen": 3, "changed": 3}
    assert told.value("commerce_job_items_total", result="failed") == 0


async def test_a_mail_that_is_given_up_counts_as_failed(
    tmp_path: Path, database_url: str, temporal_server: str, address: str, order_id: str
) -> None:
    measured = await connect({"TEMPORAL_ADDRESS": temporal_server, **ENCRYPTION_ENV}, create_runtime(address))
    async with running_shop(tmp_path, database_url, measured) as shop:
        await shop.data.stock("MUG", main=5)
        await shop.data.order(order_id, MUG=1)
        async with shop.worker([Faults({"send-notification": "before", "alert-admins": "before"})]):
            assert not (await shop.process(order_id)).notification_sent
    told = await counted(address)
    assert told.value("commerce_mails_total", kind="order-shipped", status="failed") == 1
    assert told.value("commerce_mails_total", kind="notification-failed", status="sent") == 1  # at last
