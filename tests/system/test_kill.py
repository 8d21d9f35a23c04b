"""Orders end correctly, with nothing done twice, although their workers are killed or stopped at any point."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.system.workers import WorkerProcesses, points_by_outcome, wait_until
from worker import GRACEFUL_SHUTDOWN, HARD_EXIT_SECONDS

pytestmark = pytest.mark.waits(40)

COMPLETED, FAILED, CANCELLED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
DEADLINE = 180  # seconds
SEED = 20260302
KILLS, ORDERS_PER_KILL = 4, 10

# The first part of an order's id is its expected outcome; the rest is the point where the worker hangs when killed.
POINTS = """
    fulfilled  validate-order         before after
    fulfilled  check-inventory        before after
    fulfilled  reserve-inventory      before after
    fulfilled  create-fulfillment     before after
    fulfilled  create-shipping-label  before before-create after-create before-buy after-buy after
    fulfilled  complete-order         before after
    fulfilled  send-notification      before before-send after-send after
    unmailed   fail-notification      before after
    unmailed   alert-admins           after-send
    short      record-refusal         before after
    short      alert-admins           after-send
    refused    void-shipping-label    before before-refund after
    refused    cancel-fulfillment     before after
    refused    release-inventory      before after
    refused    hold-order             before after
    refused    alert-admins           before before-send after-send after
    cancelled  void-shipping-label    before before-refund after-refund after
    released   reserve-inventory      before after
    restocked  create-shipping-label  before after-create before-buy
    refunded   create-shipping-label  after-buy after
"""
CANCELLED_AT_POINT = ("released", "restocked", "refunded")  # cancelled just before the worker is killed
CANCEL_ORDER_FUNCTION = """
    CREATE FUNCTION cancel_order() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE orders SET cancelled_at = now() WHERE id = NEW.order_id AND id LIKE 'cancelled%'; RETURN NULL;
    END $$
"""
CANCEL_ORDER_TRIGGER = """
    CREATE TRIGGER cancel_order AFTER UPDATE OF shipment_id ON fulfillments FOR EACH ROW EXECUTE FUNCTION cancel_order()
"""


@dataclass(frozen=True)
class Outcome:
    """The state of an order after its run has ended."""

    run: WorkflowExecutionStatus | None
    live_fulfillments: int
    movements: tuple[int, ...]  # units of its item
    stock: tuple[int, int]  # stocked and reserved; three were stocked at first
    labels: tuple[int, int]  # bought and refunded
    events: tuple[str, ...]
    mails: tuple[str, ...]  # kinds; copies with the same Message-ID count as one mail


OUTCOMES = {
    "fulfilled": Outcome(COMPLETED, 1, (-1,), (2, 0), (1, 0), ("order.fulfilled",), ("order-shipped",)),
    "unshipped": Outcome(COMPLETED, 1, (-1,), (2, 0), (0, 0), ("order.fulfilled",), ("order-shipped",)),
    "unmailed": Outcome(COMPLETED, 1, (-1,), (2, 0), (1, 0), ("order.fulfilled",), ("notification-failed",)),
    "short": Outcome(COMPLETED, 0, (), (3, 0), (0, 0), ("order.insufficient_inventory",), ("insufficient-inventory",)),
    "refused": Outcome(FAILED, 0, (-1, 1), (3, 0), (0, 0), (), ("order-failed",)),
    "cancelled": Outcome(FAILED, 0, (-1, 1), (3, 0), (1, 1), (), ("order-failed",)),
    "released": Outcome(CANCELLED, 0, (), (3, 0), (0, 0), (), ()),
    "restocked": Outcome(CANCELLED, 0, (-1, 1), (3, 0), (0, 0), (), ()),
    "refunded": Outcome(CANCELLED, 0, (-1, 1), (3, 0), (1, 1), (), ()),
}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        await running.data.owner_sql(CANCEL_ORDER_FUNCTION)
        await running.data.owner_sql(CANCEL_ORDER_TRIGGER)
        yield running


async def create_orders(shop: RunningShop, order_ids: Iterable[str]) -> None:
    """Create orders that end as their ids say, each for one unit of its own item, of which three are stocked."""
    for order_id in order_ids:
        end = order_id.split(".")[0]
        columns: dict[str, str | None] = {"shipping_method": None} if end == "unshipped" else {}
        if end == "unmailed":
            columns["email"] = "ann@refused.example"
        await shop.data.stock(order_id, main=3)
        await shop.data.order(order_id, (order_id, 4 if end == "short" else 1), columns=columns)
        if end == "refused":
            await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)


async def outcomes(shop: RunningShop, order_ids: Iterable[str]) -> dict[str, Outcome]:
    """Return the outcome of each order."""
    mails = Counter(
        (str(mail["X-Commerce-Key"]).split("/")[1], kind)
        for kind in ("order-shipped", "order-failed", "insufficient-inventory", "notification-failed")
        for mail in {mail["Message-ID"]: mail for mail in shop.mails(kind)}.values()
    )
    return {
        order_id: await outcome_of(shop, order_id, tuple(kind for about, kind in mails.elements() if about == order_id))
        for order_id in order_ids
    }


async def outcome_of(shop: RunningShop, order_id: str, mails: tuple[str, ...]) -> Outcome:
    async def rows(query: str) -> tuple[object, ...]:
        return tuple(await shop.data.sql(query, id=order_id))

    labels = await shop.labels(order_id)
    return Outcome(
        run=await shop.status(order_id),
        live_fulfillments=len(await rows("SELECT 1 FROM fulfillments WHERE order_id = :id AND cancelled_at IS NULL")),
        movements=tuple(units for _, units, *_ in await shop.data.movements(order_id)),
        stock=(await shop.data.levels(order_id))["main"],
        labels=(labels["bought"], labels["refunded"]),
        events=tuple(kind for kind, aggregate, _ in await shop.data.events() if aggregate == f"order/{order_id}"),
        mails=mails,
    )


async def wait_for_all(shop: RunningShop, order_ids: Iterable[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(wait_for_end(shop.handle(order_id)) for order_id in order_ids))


async def check(shop: RunningShop, order_ids: Iterable[str]) -> None:
    """Check that every order has the outcome in its id and that the audit finds nothing."""
    found = await outcomes(shop, order_ids)
    assert {order_id: end for order_id, end in found.items() if end != OUTCOMES[order_id.split(".")[0]]} == {}
    assert await shop.findings() == []


@pytest.mark.waits(65)
async def test_orders_end_correctly_after_a_kill_inside_each_step_and_each_undo(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E11)
    orders = points_by_outcome(POINTS)
    await create_orders(shop, orders)
    first = await workers.start_pausing(orders)
    cancelled = [order_id for order_id in orders if order_id.startswith(CANCELLED_AT_POINT)]
    # Those that are cancelled come last, so that the next worker knows of it before their steps time out.
    for group in (orders.keys() - cancelled, cancelled):
        await asyncio.gather(*(shop.start(order_id) for order_id in group))
        await workers.wait_until_hanging(*group)
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in cancelled))
    await first.kill()

    await workers.start()
    await wait_for_all(shop, orders)
    await check(shop, orders)
    # The mail server took the mail, but the worker was killed before storing that. It is sent again with the same
    # Message-ID, by which mail programs drop the copy.
    copies = [mail["Message-ID"] for mail in shop.mails("order-shipped", "fulfilled.send-notification.after-send")]
    assert len(copies) == 2 and len(set(copies)) == 1


async def test_orders_end_correctly_after_kills_at_random_moments(
    shop: RunningShop, workers: WorkerProcesses
) -> None:  # (E11)
    random = Random(SEED)
    kinds = ["fulfilled", "fulfilled", "unshipped", "short", "refused", "cancelled"]
    orders = [f"{kinds[number % len(kinds)]}.{number}" for number in range(KILLS * ORDERS_PER_KILL)]
    await create_orders(shop, orders)
    for kill in range(KILLS):
        first = await workers.start()
        for order_id in orders[kill * ORDERS_PER_KILL :][:ORDERS_PER_KILL]:
            await shop.start(order_id)
        await asyncio.sleep(random.uniform(0, 1.5))
        await first.kill()

    await workers.start()
    await wait_for_all(shop, orders)
    await check(shop, orders)


async def test_orders_end_correctly_after_workers_are_stopped_during_steps(
    shop: RunningShop, workers: WorkerProcesses
) -> None:
    """A slow step finishes, a hanging one is cancelled, one that ignores this is abandoned. The next worker resumes."""
    await create_orders(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.ignores-cancel"])
    await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=5, times=1, order_id="fulfilled.slow")
    first = await workers.start_pausing({"fulfilled.hangs": "create-shipping-label before"})
    await asyncio.gather(shop.start("fulfilled.slow"), shop.start("fulfilled.hangs"))
    await asyncio.gather(workers.wait_until_hanging("fulfilled.hangs"), wait_for_purchase(shop, "fulfilled.slow"))
    stopping = asyncio.create_task(first.stop())
    await wait_until(lambda: "worker stopping" in first.log_text(), DEADLINE, first.log_tail)

    second = await workers.start_pausing({"fulfilled.ignores-cancel": "reserve-inventory ignoring-cancel"})
    await shop.start("fulfilled.ignores-cancel")
    await workers.wait_until_hanging("fulfilled.ignores-cancel")
    code, seconds = await second.stop()
    assert code == 0 and HARD_EXIT_SECONDS - 1 < seconds < HARD_EXIT_SECONDS + 1

    code, seconds = await stopping
    assert code == 0 and "worker stopped" in first.log_text()
    assert GRACEFUL_SHUTDOWN.total_seconds() - 1 < seconds < HARD_EXIT_SECONDS
    assert await shop.findings() == []

    await workers.start()
    await wait_for_all(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.ignores-cancel"])
    await check(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.ignores-cancel"])
    assert await attempts(shop, "fulfilled.slow", "create-shipping-label") == 1


async def wait_for_purchase(shop: RunningShop, order_id: str) -> None:
    """Wait until the order's label is about to be bought: the shipment is noted in the ledger."""
    is_noted = "SELECT note IS NOT NULL FROM step_ledger WHERE business_key LIKE '%' || :id AND step LIKE '%-label'"
    async with asyncio.timeout(DEADLINE):
        while await shop.data.sql(is_noted, id=order_id) != [True]:  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.02)


async def attempts(shop: RunningShop, order_id: str, step: str) -> int:
    """Return the number of the attempt with which a step ended."""
    events = (await shop.handle(order_id).fetch_history()).events
    [scheduled] = [e.event_id for e in events if e.activity_task_scheduled_event_attributes.activity_type.name == step]
    started = [e.activity_task_started_event_attributes for e in events]
    [attempt] = [each.attempt for each in started if each.scheduled_event_id == scheduled]
    return int(attempt)
