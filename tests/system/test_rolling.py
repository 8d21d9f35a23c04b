"""Replace a worker with one of a newer build while it processes orders: every order is fulfilled once."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import WorkflowTaskFailedCause
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus

from commerce.messages.orders import OrderResult
from tests.running_shop import RunningShop, running_shop
from tests.system.workers import WorkerProcess, WorkerProcesses

pytestmark = pytest.mark.waits

ORDERS, CONCURRENT_ORDERS = 64, 16
ORDERS_BEFORE = 24  # orders processed before a worker is replaced
ORDERS_AFTER = 24  # orders that begin after that
MIN_SHARE = 0.05  # of all steps: each worker must have performed at least this part
DEADLINE = 180  # seconds
NEWER = "tests.system.newer_worker"
# Why a build refuses a run whose steps it does not know: the next event is of another step, or the recorded answer of a
# local step does not fit the step that it asks for.
OUTDATED = (
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_NON_DETERMINISTIC_ERROR,
    WorkflowTaskFailedCause.WORKFLOW_TASK_FAILED_CAUSE_WORKFLOW_WORKER_UNHANDLED_FAILURE,
)
ATTEMPTED = "SELECT 1 FROM step_ledger WHERE business_key LIKE '%' || :id AND step = 'create-shipping-label'"


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.stock("MUG", main=ORDERS)
        yield running


@pytest.mark.timeout(1200)  # it processes many orders
async def test_one_of_two_workers_is_replaced_while_they_process_orders(
    shop: RunningShop, workers: WorkerProcesses
) -> None:
    order_ids = [f"rolled-{number}" for number in range(ORDERS)]
    for order_id in order_ids:
        await shop.data.order(order_id, MUG=1)
    old, other = await asyncio.gather(workers.start(), workers.start())
    slots, enough, replaced = asyncio.Semaphore(CONCURRENT_ORDERS), asyncio.Event(), asyncio.Event()
    results: dict[str, OrderResult] = {}

    async def process(order_id: str) -> None:
        if order_id in order_ids[-ORDERS_AFTER:]:
            await replaced.wait()
        async with slots:
            results[order_id] = await shop.process(order_id)
        if len(results) == ORDERS_BEFORE:
            enough.set()

    processing = asyncio.gather(*map(process, order_ids))
    await enough.wait()
    assert (await old.stop())[0] == 0
    new = await workers.start(NEWER)
    replaced.set()
    await processing

    await check(shop, results)
    histories = [await events(shop, order_id) for order_id in order_ids]
    steps = Counter(event.activity_task_started_event_attributes.identity for each in histories for event in each)
    del steps[""]  # events of other types
    shares = [steps[identity] for worker in (old, other, new) for identity in steps if ran_on(worker, identity)]
    assert len(shares) == 3 and min(shares) > MIN_SHARE * sum(steps.values()), steps


async def check(shop: RunningShop, results: dict[str, OrderResult]) -> None:
    """Check that the results are the same as with one worker."""
    assert {result.status for result in results.values()} == {"fulfilled"}
    assert len({result.tracking_number for result in results.values()}) == ORDERS
    notified = [str(mail["X-Commerce-Key"]).removeprefix("order-shipped/") for mail in shop.mails("order-shipped")]
    assert sorted(notified) == sorted(results)
    assert [(await shop.labels(order_id))["bought"] for order_id in results] == [1] * ORDERS
    assert await shop.data.levels("MUG") == {"main": (0, 0)}
    assert await shop.findings() == []


async def test_an_order_continues_with_the_build_that_knows_its_steps(
    shop: RunningShop, workers: WorkerProcesses
) -> None:
    await shop.data.order("from-old", MUG=1)
    await shop.data.order("from-new", MUG=1)

    async with interrupted(shop, workers, "from-old", "worker"):
        new = await workers.start(NEWER)
    assert (await outcome_of(shop, "from-old")) == {"patched": 0, "wrapped": 0, "outdated": 0}
    await new.stop()

    async with interrupted(shop, workers, "from-new", NEWER):
        old = await workers.start()
    await wait_for_refusal(shop, "from-new")
    assert await shop.status("from-new") == WorkflowExecutionStatus.RUNNING
    await old.stop()
    await workers.start(NEWER)
    found = await outcome_of(shop, "from-new")
    assert found["patched"] == found["wrapped"] == 1 and found["outdated"] >= 1
    assert await shop.findings() == []


@asynccontextmanager
async def interrupted(shop: RunningShop, workers: WorkerProcesses, order_id: str, build: str) -> AsyncIterator[None]:
    """Let a worker of this build start an order, and stop it; after the block nothing delays the order."""
    await shop.inject_carrier_fault(operation="create", fault="500", order_id=order_id, times=1000)
    first = await workers.start(build)
    await shop.start(order_id)
    async with asyncio.timeout(DEADLINE):
        while not await shop.data.sql(ATTEMPTED, id=order_id):  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)
    await first.stop()
    yield
    await shop.clear_carrier_faults()


async def wait_for_refusal(shop: RunningShop, order_id: str) -> None:
    """Wait until a worker that does not know the patch has refused to continue the order."""
    async with asyncio.timeout(DEADLINE):
        while not any(map(is_outdated, await events(shop, order_id))):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.1)


async def outcome_of(shop: RunningShop, order_id: str) -> dict[str, int]:
    """Wait until an order is fulfilled, check its label and mail, and count the effects of the patch in its history."""
    async with asyncio.timeout(DEADLINE):
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    assert (await shop.labels(order_id))["bought"] == 1
    assert len(shop.mails("order-shipped", order_id)) == 1
    history = await events(shop, order_id)
    markers = [str(event.marker_recorded_event_attributes) for event in history]
    return {
        "patched": sum("wrap-gifts" in marker for marker in markers),
        "wrapped": sum('\\"wrap-gift\\"' in marker for marker in markers),
        "outdated": sum(map(is_outdated, history)),
    }


def is_outdated(event: HistoryEvent) -> bool:
    return event.workflow_task_failed_event_attributes.cause in OUTDATED


async def events(shop: RunningShop, order_id: str) -> list[HistoryEvent]:
    return list((await shop.handle(order_id).fetch_history()).events)


def ran_on(worker: WorkerProcess, identity: str) -> bool:
    return identity.startswith(f"{worker.process.pid}@")
