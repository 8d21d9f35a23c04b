"""A plan drawn from a seed: orders, imports, jobs and operators, while workers are killed and connections cut.

    make chaos SEED=7

The environment variable COMMERCE_CHAOS_SECONDS is the length of a run. A failed run prints its seed, its plan and what
happened when.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from commerce.messages.orders import order_process_id
from tests.running_shop import RunningShop
from tests.system.chaos import model
from tests.system.chaos.actors import NO_ANSWER, Actors, actors
from tests.system.chaos.plan import LOCATIONS, VARIANTS, Plan, draw

pytestmark = pytest.mark.waits(70)

SEED = int(os.environ.get("COMMERCE_CHAOS_SEED") or 1)
SECONDS = int(os.environ.get("COMMERCE_CHAOS_SECONDS") or 60)
DEADLINE = 400  # seconds for all runs to end after the last action; reached only by what hangs
RUNNING, TERMINATED = WorkflowExecutionStatus.RUNNING, WorkflowExecutionStatus.TERMINATED
MAX_ROUNDS = 10  # of the job that processes pending orders, at the end
PLENTY = 10_000  # units
CARTS = 30
OLD_CARTS = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    SELECT 'old-' || n, 'GBP', :at, :at FROM generate_series(1, :number) AS n
"""
UNSENT = "SELECT key FROM notifications WHERE status IN ('queued', 'sending')"
OPEN = "SELECT type || ' of ' || aggregate FROM outbox_events WHERE published_at IS NULL"


@pytest.mark.timeout(SECONDS + 1_200)
async def test_everything_at_once(shop: RunningShop, tmp_path: Path) -> None:  # (E11, E12, V10)
    plan = draw(SEED, SECONDS)
    await open_shop(shop, plan)
    async with actors(shop, plan, tmp_path) as everybody:
        try:
            await everybody.carry_out()
            await shop.clear_carrier_faults()
            await end_all_work(shop, plan, everybody)
            found = await model.forgotten(shop, plan)
            await deliver_plenty(shop, plan, everybody)
            found += await model.violations(shop, plan, everybody.done, CARTS)
        except Exception as error:
            error.add_note(report(plan, everybody))
            raise
    (tmp_path / "report.txt").write_text(report(plan, everybody))
    sys.stdout.write(f"seed {SEED}, {SECONDS} s: {await model.summary(shop)}\n")
    assert not found, "\n".join([*found, report(plan, everybody)])


async def open_shop(shop: RunningShop, plan: Plan) -> None:
    """Fill the shop with goods, and with carts that are long expired."""
    for item, units in plan.stock.items():
        await shop.data.stock(item, backorder=VARIANTS[item].backorder, **units)
    for variant in VARIANTS.values():
        if len(variant.items) > 1:
            await shop.data.variant(variant.sku, items=variant.items)
        elif not variant.items:
            await shop.data.variant(variant.sku, managed=False)
    await shop.data.sql(OLD_CARTS, number=CARTS, at=datetime(2020, 1, 1, tzinfo=UTC))


async def end_all_work(shop: RunningShop, plan: Plan, everybody: Actors) -> None:
    """Wait until all runs have ended; start what the schedules would start, and retry what operators would retry."""
    await wait_until_ended(shop, plan, everybody)
    await process_pending_orders(shop, plan, everybody)
    for order_id in plan.orders:
        if await status(shop.handle(order_id)) == TERMINATED:
            await everybody.retry(order_id)
    await wait_until_ended(shop, plan, everybody)
    await process_pending_orders(shop, plan, everybody)
    await (await everybody.run_job("cleanup-expired-carts")).result()
    await until_none(lambda: shop.data.sql(OPEN))
    await until_none(lambda: shop.data.sql(UNSENT))  # workers send what interrupted runs have left


async def deliver_plenty(shop: RunningShop, plan: Plan, everybody: Actors) -> None:
    """Deliver enough for all orders that wait for stock, and process them."""
    for item in {item for variant in VARIANTS.values() for item in variant.items}:
        await everybody.import_stock(item, LOCATIONS[0], on_hand=PLENTY)
    await process_pending_orders(shop, plan, everybody)


async def process_pending_orders(shop: RunningShop, plan: Plan, everybody: Actors) -> None:
    """Run the job as often as its schedule would, until no order is pending."""
    for _ in range(MAX_ROUNDS):
        result = await (await everybody.run_job("process-pending-orders")).result()
        await wait_until_ended(shop, plan, everybody)
        if result["seen"] == 0:
            return
    raise AssertionError(f"after {MAX_ROUNDS} runs of the job, orders are still pending: {result}")


async def wait_until_ended(shop: RunningShop, plan: Plan, everybody: Actors) -> None:
    """Wait until no process has an open run and no event waits for the relay."""
    ids = {*map(order_process_id, plan.orders), *everybody.job_ids}

    async def open_runs() -> list[str]:
        # Temporal's lists lag behind, but to describe each process again and again would keep it busy.
        try:
            listed = [run.id async for run in shop.client.list_workflows("ExecutionStatus = 'Running'")]
        except RPCError as error:
            if error.status not in NO_ANSWER:
                raise
            return ["Temporal does not answer"]
        if running := ids.intersection(listed):
            return sorted(running)
        running = [each for each in ids if await status(shop.client.get_workflow_handle(each)) == RUNNING]
        return running or await shop.data.sql(OPEN)

    await until_none(open_runs)


async def until_none(list_open: Callable[[], Awaitable[list[str]]]) -> None:
    """Wait until the list is empty."""
    left: list[str] = []
    try:
        async with asyncio.timeout(DEADLINE):
            while left := await list_open():  # noqa: ASYNC110 - polls servers
                await asyncio.sleep(0.3)
    except TimeoutError:
        raise AssertionError(f"does not end: {left}") from None


async def status(handle: WorkflowHandle[object, object]) -> WorkflowExecutionStatus | None:
    """Return the status of the latest run of a process; None: it has none."""
    while True:
        try:
            return (await handle.describe()).status
        except RPCError as error:
            if error.status == RPCStatusCode.NOT_FOUND:
                return None
            if error.status not in NO_ANSWER:
                raise


def report(plan: Plan, everybody: Actors) -> str:
    """Return the plan and what happened. The same seed and length draw the same plan again."""
    return "\n".join(["", "THE PLAN", str(plan), "", "WHAT HAPPENED", *everybody.log])
