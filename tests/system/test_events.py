"""Events reach everybody who wants them: processes and webhooks, in order, whatever is killed or away meanwhile."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from commerce import outbox, webhooks
from commerce.messages.webhooks import NewEndpoint, WebhookDelivery
from commerce.outbox import NewEvent
from starter.processes import TASK_QUEUE
from starter.subscribers import create_relay
from tests.commerce.shop import Shop
from tests.conftest import free_port
from tests.running_shop import RunningShop, running_shop
from tests.system.workers import wait_until, worker_processes
from tests.webhook_receiver import WebhookReceiver, webhook_receiver
from workflows.deliver_webhook import DeliverWebhookWorkflow

SEED = 20260302
CARTS, EVENTS_PER_CART, ORDERS, KILLS = 400, 25, 40, 5
SECONDS = 60
STOCK_EVENTS = 3_000
USUAL_PRIORITY = 3
STILL_WAITING = "SELECT count(*) FROM outbox_events WHERE published_at IS NULL"


@pytest.fixture
async def place(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as made:
        yield made


@pytest.fixture
async def shop(place: RunningShop) -> AsyncIterator[RunningShop]:
    """A shop whose worker relays events."""
    async with place.worker(), relaying(place):
        yield place


@asynccontextmanager
async def relaying(place: RunningShop) -> AsyncIterator[None]:
    url = place.settings.database_url.get_secret_value()
    relay = asyncio.create_task(create_relay(place.client, url).run())
    try:
        yield
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay


@pytest.fixture
async def receiver(place: RunningShop) -> AsyncIterator[WebhookReceiver]:
    """A receiver that wants every event."""
    async with webhook_receiver() as made:
        await added(place, made)
        yield made


async def added(place: RunningShop, receiver: WebhookReceiver) -> NewEndpoint:
    endpoint = await place.data.call(webhooks.add, receiver.url)
    receiver.secret = endpoint.secret
    return endpoint


def event(aggregate: str, number: int, kind: str = "cart.expired") -> NewEvent:
    return NewEvent(f"{aggregate}/{number}", kind, aggregate, {"number": number})


async def write(shop: Shop, *events: NewEvent) -> None:
    await shop.call(outbox.add, *events)


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - it looks at what servers did
            await asyncio.sleep(0.02)


async def all_published(shop: Shop) -> None:
    async def done() -> bool:
        return await shop.sql(STILL_WAITING) == [0]

    await eventually(done)


async def deliveries(place: RunningShop) -> list[WebhookDelivery]:
    """Return the deliveries of all events to the only endpoint, in order."""
    [endpoint] = await place.data.call(webhooks.list_endpoints)
    ids = await place.data.sql("SELECT id FROM outbox_events ORDER BY sequence")
    return [WebhookDelivery(endpoint_id=endpoint.id, event_id=event_id) for event_id in ids]


async def status(place: RunningShop, delivery: WebhookDelivery) -> WorkflowExecutionStatus | None:
    return (await place.client.get_workflow_handle(delivery.process_id).describe()).status


async def delivered(place: RunningShop) -> list[str]:
    """Wait for the end of all deliveries, and return how they ended."""
    async with asyncio.timeout(SECONDS):
        handles = [place.client.get_workflow_handle(each.process_id) for each in await deliveries(place)]
        return [(await handle.result())["status"] for handle in handles]


async def test_ten_thousand_events_with_the_worker_killed_five_times(
    place: RunningShop, tmp_path: Path
) -> None:  # (N3, E11)
    """Everybody sees each event, in order per aggregate; of an order that was placed one process is started."""
    name = place.settings.database_url.get_secret_value().rsplit("/", 1)[1]  # the tests share a Temporal server
    orders = [f"{name}-{number}" for number in range(ORDERS)]
    for number in range(EVENTS_PER_CART):
        await write(place.data, *(event(f"cart/{cart}", number) for cart in range(CARTS)))
        placed = orders[number::EVENTS_PER_CART]
        data: list[dict[str, Any]] = [{"order_id": order_id} for order_id in placed]
        await write(place.data, *(NewEvent(d["order_id"], "order.placed", f"order/{d['order_id']}", d) for d in data))
    chance, total, journal = Random(SEED), CARTS * EVENTS_PER_CART, tmp_path / "journal"
    journal.touch()
    async with worker_processes(place, tmp_path / "workers") as workers:
        for moment in sorted(chance.sample(range(total), KILLS)):
            doomed = await workers.start("tests.system.event_worker", JOURNAL=str(journal))
            await wait_until(lambda: lines(journal) > moment, SECONDS, doomed.log_tail)  # noqa: B023 - asked at once
            await doomed.kill()
        await workers.start("tests.system.event_worker", JOURNAL=str(journal))
        await all_published(place.data)
    seen: dict[str, list[int]] = defaultdict(list)
    ids = set()
    for aggregate, number, event_id in (line.split(" ") for line in journal.read_text().splitlines()):
        ids.add(event_id)
        if int(number) not in seen[aggregate]:  # given again after a kill
            seen[aggregate].append(int(number))
    assert len(ids) == total
    assert seen == {f"cart/{cart}": list(range(EVENTS_PER_CART)) for cart in range(CARTS)}
    await started_once(place.client, name)


def lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


async def started_once(client: Client, name: str) -> None:
    """Every order has one run; what is listed lags behind."""

    async def all_listed() -> bool:
        runs = [run.id async for run in client.list_workflows(f'WorkflowId STARTS_WITH "order-processing-{name}-"')]
        assert len(runs) == len(set(runs))
        return len(runs) == ORDERS

    await eventually(all_listed)


async def test_an_order_that_is_placed_is_processed(shop: RunningShop) -> None:
    order_id = shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]
    await shop.data.stock("MUG", main=3)
    await shop.data.order(order_id, MUG=1)
    placed = NewEvent("placed", "order.placed", f"order/{order_id}", {"order_id": order_id})
    await write(shop.data, placed)
    await all_published(shop.data)
    async with asyncio.timeout(SECONDS):
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    first = (await shop.handle(order_id).describe()).run_id
    await write(shop.data, placed._replace(key="placed again"))
    await all_published(shop.data)
    assert (await shop.handle(order_id).describe()).run_id == first


async def test_a_new_order_does_not_wait_behind_the_events_of_a_stock_sync(
    place: RunningShop, receiver: WebhookReceiver
) -> None:  # (N7)
    order_id = place.settings.database_url.get_secret_value().rsplit("/", 1)[1]
    await place.data.stock("MUG", main=3)
    await place.data.order(order_id, MUG=1)
    await write(place.data, *(event(f"inventory/{n}", n, "inventory.updated") for n in range(STOCK_EVENTS)))
    await write(place.data, NewEvent("placed", "order.placed", f"order/{order_id}", {"order_id": order_id}))
    async with place.worker(), relaying(place):
        async with asyncio.timeout(SECONDS):
            while not await place.data.sql("SELECT 1 FROM fulfillments"):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)
        [waiting] = await place.data.sql(STILL_WAITING)
    assert waiting > STOCK_EVENTS / 2


async def test_the_tasks_of_an_order_come_before_those_of_deliveries(
    place: RunningShop, receiver: WebhookReceiver
) -> None:  # (N7)
    await write(place.data, event("inventory/1", 1, "inventory.updated"))
    async with relaying(place):
        await all_published(place.data)
    order = await place.start(place.settings.database_url.get_secret_value().rsplit("/", 1)[1])
    [delivery] = await deliveries(place)
    assert await priority(place, delivery.process_id) > (await priority(place, order.id) or USUAL_PRIORITY)


async def priority(place: RunningShop, process_id: str) -> int:
    """Return the priority of a process's tasks as Temporal keeps it: 1 comes first, 0 is the usual one."""
    described = await place.client.get_workflow_handle(process_id).describe()
    return described.raw_description.workflow_execution_info.priority.priority_key


async def test_an_event_that_is_eleven_minutes_old_still_arrives(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (E15)
    await shop.data.sql(
        """INSERT INTO outbox_events (id, type, aggregate, data, created_at)
           VALUES (uuidv7(), 'cart.expired', 'cart/old', '{"number": 1}', now() - interval '11 minutes')"""
    )
    await all_published(shop.data)
    assert await delivered(shop) == ["delivered"]
    assert receiver.numbers("cart/old") == [1]


async def test_a_receiver_that_is_down_and_comes_back_gets_everything_in_order(shop: RunningShop) -> None:
    port = free_port()
    receiver = WebhookReceiver()
    receiver.url = f"http://127.0.0.1:{port}/hook"
    secret = (await added(shop, receiver)).secret
    await write(shop.data, *(event(f"cart/{cart}", number) for number in range(5) for cart in range(3)))
    await all_published(shop.data)
    await eventually(lambda: tried(shop, times=1))
    async with webhook_receiver(port) as back:
        back.secret = secret
        assert await delivered(shop) == ["delivered"] * 15
    assert [back.numbers(f"cart/{cart}") for cart in range(3)] == [list(range(5))] * 3


async def tried(place: RunningShop, *, times: int) -> bool:
    """Tell whether the first delivery was tried so often in vain."""
    [first, *_] = await deliveries(place)
    described = await place.client.get_workflow_handle(first.process_id).describe()
    pending = described.raw_description.pending_activities
    return bool(pending) and pending[0].attempt > times


async def test_a_receiver_that_asks_to_wait_is_waited_for(shop: RunningShop, receiver: WebhookReceiver) -> None:
    receiver.answer, receiver.headers = 503, {"Retry-After": "1"}
    await write(shop.data, event("cart/1", 1), event("cart/1", 2))
    await eventually(lambda: asked(receiver, times=2))
    assert [event["data"]["number"] for event in receiver.asked] == [1] * len(receiver.asked)
    receiver.answer = 204
    assert await delivered(shop) == ["delivered"] * 2
    assert receiver.numbers("cart/1") == [1, 2]


async def asked(receiver: WebhookReceiver, *, times: int) -> bool:
    return len(receiver.asked) >= times


async def test_a_receiver_that_is_gone_is_not_asked_again(shop: RunningShop, receiver: WebhookReceiver) -> None:
    receiver.answer = 410
    await write(shop.data, event("cart/1", 1), event("cart/1", 2))
    await all_published(shop.data)
    assert await delivered(shop) == ["gone", "disabled"]
    await write(shop.data, event("cart/1", 3))
    await all_published(shop.data)
    assert len(receiver.asked) == 1
    [endpoint] = await shop.data.call(webhooks.list_endpoints)
    assert endpoint.disabled_at is not None


async def test_a_delivery_that_fails_for_good_is_a_failed_run_and_lets_the_next_go(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (N4)
    receiver.answer, receiver.headers = 503, {"Retry-After": "40000"}
    await write(shop.data, event("cart/1", 1), event("cart/1", 2))
    await all_published(shop.data)
    await eventually(lambda: asked(receiver, times=1))
    receiver.answer = 204
    first, second = await deliveries(shop)
    assert await status(shop, second) == WorkflowExecutionStatus.RUNNING
    await shop.client.get_workflow_handle(first.process_id).cancel()
    async with asyncio.timeout(SECONDS):
        await shop.client.get_workflow_handle(second.process_id).result()
    assert await status(shop, first) == WorkflowExecutionStatus.CANCELED
    again = await shop.client.start_workflow(
        DeliverWebhookWorkflow.run, first, id=first.process_id, task_queue=TASK_QUEUE
    )
    assert (await again.result()).status == "delivered"
    assert receiver.numbers("cart/1") == [2, 1]


async def test_a_delivery_without_its_event_fails_and_says_why(shop: RunningShop, receiver: WebhookReceiver) -> None:
    await write(shop.data, event("cart/1", 1))
    [known] = await deliveries(shop)
    lost = known.model_copy(update={"event_id": known.endpoint_id})
    with pytest.raises(WorkflowFailureError) as failure:
        await shop.client.execute_workflow(
            DeliverWebhookWorkflow.run,
            lost,
            id=lost.process_id,
            task_queue=TASK_QUEUE,
            run_timeout=timedelta(seconds=SECONDS),
        )
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "EventNotFound"
