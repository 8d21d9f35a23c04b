"""Workers are killed and stopped in the middle of things: every order ends right all the same, and nothing twice."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from tests.running_shop import RunningShop, running_shop, wait_for_end
from tests.system.workers import WorkerProcesses, wait_until
from worker import GRACEFUL_SHUTDOWN, HARD_EXIT_SECONDS

COMPLETED, FAILED, CANCELLED = (
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
)
DEADLINE = 110  # seconds
SEED = 20260302
KILLS, ORDERS_PER_KILL = 4, 10

# The first word of an order's id says what becomes of it; the rest, where the worker hangs when it is killed.
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
    called-off void-shipping-label    before before-refund after-refund after
    let-go     reserve-inventory      before after
    put-back   create-shipping-label  before after-create before-buy
    taken-back create-shipping-label  after-buy after
"""
CANCELLED_TOO = ("let-go", "put-back", "taken-back")  # just before the worker is killed
CALL_OFF = """
    CREATE FUNCTION call_off() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE orders SET cancelled_at = now() WHERE id = NEW.order_id AND id LIKE 'called-off%'; RETURN NULL;
    END $$
"""
CALLED_OFF_ONCE_LABELLED = """
    CREATE TRIGGER call_off AFTER UPDATE OF shipment_id ON fulfillments FOR EACH ROW EXECUTE FUNCTION call_off()
"""


@dataclass(frozen=True)
class End:
    """What is left of an order when its run has ended."""

    run: WorkflowExecutionStatus | None
    live_fulfillments: int
    movements: tuple[int, ...]  # units of its item
    stock: tuple[int, int]  # stocked and reserved, of three at first
    labels: tuple[int, int]  # bought and refunded
    events: tuple[str, ...]
    mails: tuple[str, ...]  # kinds; the copies of one Message-ID are one mail


ENDS = {
    "fulfilled": End(COMPLETED, 1, (-1,), (2, 0), (1, 0), ("order.fulfilled",), ("order-shipped",)),
    "unshipped": End(COMPLETED, 1, (-1,), (2, 0), (0, 0), ("order.fulfilled",), ("order-shipped",)),
    "unmailed": End(COMPLETED, 1, (-1,), (2, 0), (1, 0), ("order.fulfilled",), ("notification-failed",)),
    "short": End(COMPLETED, 0, (), (3, 0), (0, 0), ("order.insufficient_inventory",), ("insufficient-inventory",)),
    "refused": End(FAILED, 0, (-1, 1), (3, 0), (0, 0), (), ("order-failed",)),
    "called-off": End(FAILED, 0, (-1, 1), (3, 0), (1, 1), (), ("order-failed",)),
    "let-go": End(CANCELLED, 0, (), (3, 0), (0, 0), (), ()),
    "put-back": End(CANCELLED, 0, (-1, 1), (3, 0), (0, 0), (), ()),
    "taken-back": End(CANCELLED, 0, (-1, 1), (3, 0), (1, 1), (), ()),
}


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        await made.data.sql(CALL_OFF)
        await made.data.sql(CALLED_OFF_ONCE_LABELLED)
        yield made


def points() -> dict[str, str]:
    """Return where the worker hangs, by order id."""
    rows = [line.split() for line in POINTS.strip().splitlines()]
    return {f"{end}.{step}.{where}": f"{step} {where}" for end, step, *places in rows for where in places}


async def take_in(shop: RunningShop, order_ids: Iterable[str]) -> None:
    """Take in an order of one unit each, of an item of its own with three in stock, so that it ends as its id says."""
    for order_id in order_ids:
        end = order_id.split(".")[0]
        facts: dict[str, str | None] = {"shipping_method": None} if end == "unshipped" else {}
        if end == "unmailed":
            facts["email"] = "ann@refused.example"
        await shop.data.stock(order_id, main=3)
        await shop.data.order(order_id, (order_id, 4 if end == "short" else 1), columns=facts)
        if end == "refused":
            await shop.inject_carrier_fault(operation="buy", fault="422", order_id=order_id)


async def ends(shop: RunningShop, order_ids: Iterable[str]) -> dict[str, End]:
    """Return what is left of each order."""
    mails = Counter(
        (str(mail["X-Commerce-Key"]).split("/")[1], kind)
        for kind in ("order-shipped", "order-failed", "insufficient-inventory", "notification-failed")
        for mail in {mail["Message-ID"]: mail for mail in shop.mails(kind)}.values()
    )
    return {
        order_id: await end_of(shop, order_id, tuple(kind for about, kind in mails.elements() if about == order_id))
        for order_id in order_ids
    }


async def end_of(shop: RunningShop, order_id: str, mails: tuple[str, ...]) -> End:
    async def ask(query: str) -> tuple[object, ...]:
        return tuple(await shop.data.sql(query, id=order_id))

    labels = await shop.labels(order_id)
    return End(
        run=await shop.status(order_id),
        live_fulfillments=len(await ask("SELECT 1 FROM fulfillments WHERE order_id = :id AND cancelled_at IS NULL")),
        movements=tuple(units for _, units, *_ in await shop.data.movements(order_id)),
        stock=(await shop.data.levels(order_id))["main"],
        labels=(labels["bought"], labels["refunded"]),
        events=tuple(kind for kind, aggregate, _ in await shop.data.events() if aggregate == f"order/{order_id}"),
        mails=mails,
    )


async def all_end(shop: RunningShop, order_ids: Iterable[str]) -> None:
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*(wait_for_end(shop.handle(order_id)) for order_id in order_ids))


async def check(shop: RunningShop, order_ids: Iterable[str]) -> None:
    """Every order has ended as its id says, and nothing is wrong anywhere."""
    found = await ends(shop, order_ids)
    assert {order_id: end for order_id, end in found.items() if end != ENDS[order_id.split(".")[0]]} == {}
    assert await shop.findings() == []


async def test_killed_inside_each_step_and_each_undo(shop: RunningShop, workers: WorkerProcesses) -> None:  # (E11)
    orders = points()
    await take_in(shop, orders)
    doomed = await workers.start_pausing(orders)
    await asyncio.gather(*(shop.start(order_id) for order_id in orders))
    await workers.wait_until_hanging(*orders)
    await asyncio.gather(*(shop.handle(order_id).cancel() for order_id in orders if order_id.startswith(CANCELLED_TOO)))
    await doomed.kill()

    await workers.start()
    await all_end(shop, orders)
    await check(shop, orders)
    # Handed over, but not known to be: told again rather than never, and mail programs drop the copy by its id.
    copies = [mail["Message-ID"] for mail in shop.mails("order-shipped", "fulfilled.send-notification.after-send")]
    assert len(copies) == 2 and len(set(copies)) == 1


async def test_killed_at_random_moments(shop: RunningShop, workers: WorkerProcesses) -> None:  # (E11)
    chance = Random(SEED)
    kinds = ["fulfilled", "fulfilled", "unshipped", "short", "refused", "called-off"]
    orders = [f"{kinds[number % len(kinds)]}.{number}" for number in range(KILLS * ORDERS_PER_KILL)]
    await take_in(shop, orders)
    for kill in range(KILLS):
        doomed = await workers.start()
        for order_id in orders[kill * ORDERS_PER_KILL :][:ORDERS_PER_KILL]:
            await shop.start(order_id)
        await asyncio.sleep(chance.uniform(0, 1.5))
        await doomed.kill()

    await workers.start()
    await all_end(shop, orders)
    await check(shop, orders)


async def test_stopped_amid_steps(shop: RunningShop, workers: WorkerProcesses) -> None:
    """What can end in time ends; what hangs is given up; what is deaf to that is left behind; the next one goes on."""
    await take_in(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.deaf"])
    await shop.inject_carrier_fault(operation="buy", fault="slow", seconds=5, times=1, order_id="fulfilled.slow")
    first = await workers.start_pausing({"fulfilled.hangs": "complete-order before"})
    await asyncio.gather(shop.start("fulfilled.slow"), shop.start("fulfilled.hangs"))
    await asyncio.gather(workers.wait_until_hanging("fulfilled.hangs"), buying(shop, "fulfilled.slow"))
    stopping = asyncio.create_task(first.stop())
    await wait_until(lambda: "worker stopping" in first.log_text(), 5, first.log_tail)

    second = await workers.start_pausing({"fulfilled.deaf": "reserve-inventory deaf"})
    await shop.start("fulfilled.deaf")
    await workers.wait_until_hanging("fulfilled.deaf")
    code, seconds = await second.stop()
    assert code == 0 and HARD_EXIT_SECONDS - 1 < seconds < HARD_EXIT_SECONDS + 1

    code, seconds = await stopping
    assert code == 0 and "worker stopped" in first.log_text()
    assert GRACEFUL_SHUTDOWN.total_seconds() - 1 < seconds < HARD_EXIT_SECONDS
    assert await shop.findings() == []

    await workers.start()
    await all_end(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.deaf"])
    await check(shop, ["fulfilled.slow", "fulfilled.hangs", "fulfilled.deaf"])
    assert await attempts(shop, "fulfilled.slow", "create-shipping-label") == 1


async def buying(shop: RunningShop, order_id: str) -> None:
    """Wait until the order's label is about to be bought."""
    noted = "SELECT note IS NOT NULL FROM step_ledger WHERE business_key LIKE '%' || :id AND step LIKE '%-label'"
    async with asyncio.timeout(DEADLINE):
        while await shop.data.sql(noted, id=order_id) != [True]:  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.02)


async def attempts(shop: RunningShop, order_id: str, step: str) -> int:
    """Return at which attempt a step has ended."""
    events = (await shop.handle(order_id).fetch_history()).events
    [scheduled] = [e.event_id for e in events if e.activity_task_scheduled_event_attributes.activity_type.name == step]
    started = [e.activity_task_started_event_attributes for e in events]
    [attempt] = [each.attempt for each in started if each.scheduled_event_id == scheduled]
    return int(attempt)
