"""Events reach subscribers and webhooks in order, although workers are killed and receivers are unreachable."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
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
from commerce.pending_events import BATCH
from starter.client import start
from starter.processes import TASK_QUEUE
from tests.commerce.shop import Shop
from tests.conftest import free_port
from tests.running_shop import RunningShop, relaying, running_shop
from tests.system.workers import wait_until, worker_processes
from tests.webhook_receiver import WebhookReceiver, webhook_receiver
from workflows.deliver_webhook import DeliverWebhookWorkflow

pytestmark = pytest.mark.waits(5)

SEED = 20260302
CARTS, EVENTS_PER_CART, ORDERS, KILLS = 400, 25, 40, 5
SECONDS = 120
UNPUBLISHED = "SELECT count(*) FROM outbox_events WHERE published_at IS NULL"
STOCK_EVENTS = 3_000
USUAL_PRIORITY = 3


@pytest.fixture
async def idle_shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    async with running_shop(tmp_path, database_url, client) as running:
        yield running


@pytest.fixture
async def shop(idle_shop: RunningShop) -> AsyncIterator[RunningShop]:
    """A shop with a worker and a relay."""
    async with idle_shop.worker(), relaying(idle_shop):
        yield idle_shop


@pytest.fixture
async def receiver(idle_shop: RunningShop) -> AsyncIterator[WebhookReceiver]:
    """A receiver that is registered for every event."""
    async with webhook_receiver() as running:
        await add_endpoint(idle_shop, running)
        yield running


async def add_endpoint(idle_shop: RunningShop, receiver: WebhookReceiver) -> NewEndpoint:
    endpoint = await idle_shop.data.call(webhooks.add, receiver.url)
    receiver.secret = endpoint.secret
    return endpoint


def event(aggregate: str, number: int, kind: str = "cart.expired") -> NewEvent:
    return NewEvent(f"{aggregate}/{number}", kind, aggregate, {"number": number})


async def write_events(shop: Shop, *events: NewEvent) -> None:
    await shop.call(outbox.add, *events)


async def poll_until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - polls servers
            await asyncio.sleep(0.02)


async def wait_until_published(shop: Shop) -> None:
    async def done() -> bool:
        return await shop.sql(UNPUBLISHED) == [0]

    await poll_until(done)


async def deliveries(idle_shop: RunningShop) -> list[WebhookDelivery]:
    """Return the deliveries of all events to the only endpoint, in order of the events."""
    [endpoint] = await idle_shop.data.call(webhooks.list_endpoints)
    ids = await idle_shop.data.sql("SELECT id FROM outbox_events ORDER BY sequence")
    return [WebhookDelivery(endpoint_id=endpoint.id, event_id=event_id) for event_id in ids]


async def run_status(idle_shop: RunningShop, delivery: WebhookDelivery) -> WorkflowExecutionStatus | None:
    return (await idle_shop.client.get_workflow_handle(delivery.process_id).describe()).status


async def delivery_statuses(idle_shop: RunningShop) -> list[str]:
    """Wait until all deliveries have ended; return their statuses."""
    async with asyncio.timeout(SECONDS):
        handles = [idle_shop.client.get_workflow_handle(each.process_id) for each in await deliveries(idle_shop)]
        return [(await handle.result())["status"] for handle in handles]


async def test_ten_thousand_events_are_published_although_the_worker_is_killed_five_times(
    idle_shop: RunningShop, tmp_path: Path
) -> None:  # (N3, E11)
    """The subscriber gets every event, in order per aggregate, and every placed order starts one process."""
    name = idle_shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]  # the tests share a Temporal server
    orders = [f"{name}-{number}" for number in range(ORDERS)]
    for number in range(EVENTS_PER_CART):
        await write_events(idle_shop.data, *(event(f"cart/{cart}", number) for cart in range(CARTS)))
        placed = orders[number::EVENTS_PER_CART]
        for order_id in placed:
            await idle_shop.data.order(order_id)  # without lines: its process fails as soon as it has read the order
        data: list[dict[str, Any]] = [{"order_id": order_id} for order_id in placed]
        await write_events(
            idle_shop.data, *(NewEvent(d["order_id"], "order.placed", f"order/{d['order_id']}", d) for d in data)
        )
    random, total, journal = Random(SEED), CARTS * EVENTS_PER_CART, tmp_path / "journal"
    journal.touch()
    async with worker_processes(idle_shop, tmp_path / "workers") as workers:
        for published in sorted(random.sample(range(total), KILLS)):
            worker = await workers.start("tests.system.event_worker", JOURNAL=str(journal))
            await wait_until(lambda: count_lines(journal) > published, SECONDS, worker.log_tail)  # noqa: B023 - called at once
            await worker.kill()
        await workers.start("tests.system.event_worker", JOURNAL=str(journal))
        await wait_until_published(idle_shop.data)
    seen: dict[str, list[int]] = defaultdict(list)
    ids = set()
    for aggregate, number, event_id in (line.split(" ") for line in journal.read_text().splitlines()):
        ids.add(event_id)
        if int(number) not in seen[aggregate]:  # published again after a kill
            seen[aggregate].append(int(number))
    assert len(ids) == total
    assert seen == {f"cart/{cart}": list(range(EVENTS_PER_CART)) for cart in range(CARTS)}
    await check_each_order_started_once(idle_shop.client, name)


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


async def check_each_order_started_once(client: Client, name: str) -> None:
    """Wait until Temporal lists a run of every order, and check that no order has two. The list lags behind."""

    async def all_listed() -> bool:
        runs = [run.id async for run in client.list_workflows(f'WorkflowId STARTS_WITH "order-processing-{name}-"')]
        assert len(runs) == len(set(runs))
        return len(runs) == ORDERS

    await poll_until(all_listed)


async def test_a_placed_order_is_processed_once(shop: RunningShop) -> None:
    order_id = shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]
    await shop.data.stock("MUG", main=3)
    await shop.data.order(order_id, MUG=1)
    placed = NewEvent("placed", "order.placed", f"order/{order_id}", {"order_id": order_id})
    await write_events(shop.data, placed)
    await wait_until_published(shop.data)
    async with asyncio.timeout(SECONDS):
        assert (await shop.handle(order_id).result()).status == "fulfilled"
    first = (await shop.handle(order_id).describe()).run_id
    await write_events(shop.data, placed._replace(key="placed again"))
    await wait_until_published(shop.data)
    assert (await shop.handle(order_id).describe()).run_id == first


async def test_a_new_order_does_not_wait_behind_the_events_of_a_stock_sync(
    idle_shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (N7)
    order_id = idle_shop.settings.database_url.get_secret_value().rsplit("/", 1)[1]
    await idle_shop.data.stock("MUG", main=3)
    await idle_shop.data.order(order_id, MUG=1)
    await write_events(idle_shop.data, *(event(f"inventory/{n}", n, "inventory.updated") for n in range(STOCK_EVENTS)))
    await write_events(idle_shop.data, NewEvent("placed", "order.placed", f"order/{order_id}", {"order_id": order_id}))
    async with idle_shop.worker(), relaying(idle_shop):
        async with asyncio.timeout(SECONDS):
            while not await idle_shop.data.sql("SELECT 1 FROM process_generations"):  # noqa: ASYNC110 - polls a server
                await asyncio.sleep(0.02)
        [waiting] = await idle_shop.data.sql(UNPUBLISHED)
    assert waiting > 2 * BATCH


async def test_the_tasks_of_an_order_come_before_those_of_deliveries(
    idle_shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (N7)
    await write_events(idle_shop.data, event("inventory/1", 1, "inventory.updated"))
    async with relaying(idle_shop):
        await wait_until_published(idle_shop.data)
    order = await idle_shop.start(idle_shop.settings.database_url.get_secret_value().rsplit("/", 1)[1])
    [delivery] = await deliveries(idle_shop)
    assert await priority(idle_shop, delivery.process_id) > (await priority(idle_shop, order.id) or USUAL_PRIORITY)


async def priority(idle_shop: RunningShop, process_id: str) -> int:
    """Return the priority of a process's tasks as Temporal keeps it: 1 comes first, 0 is the usual one."""
    described = await idle_shop.client.get_workflow_handle(process_id).describe()
    return described.raw_description.workflow_execution_info.priority.priority_key


async def test_an_event_that_is_eleven_minutes_old_is_delivered(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (E15)
    await shop.data.sql(
        """INSERT INTO outbox_events (id, type, aggregate, data, created_at)
           VALUES (uuidv7(), 'cart.expired', 'cart/old', '{"number": 1}', now() - interval '11 minutes')"""
    )
    await wait_until_published(shop.data)
    assert await delivery_statuses(shop) == ["delivered"]
    assert receiver.numbers("cart/old") == [1]


async def test_a_receiver_that_was_down_gets_all_events_in_order(shop: RunningShop) -> None:
    port = free_port()
    receiver = WebhookReceiver()
    receiver.url = f"http://127.0.0.1:{port}/hook"
    secret = (await add_endpoint(shop, receiver)).secret
    await write_events(shop.data, *(event(f"cart/{cart}", number) for number in range(5) for cart in range(3)))
    await wait_until_published(shop.data)
    await poll_until(lambda: was_tried(shop, times=1))
    async with webhook_receiver(port) as back:
        back.secret = secret
        assert await delivery_statuses(shop) == ["delivered"] * 15
    assert [back.numbers(f"cart/{cart}") for cart in range(3)] == [list(range(5))] * 3


async def was_tried(idle_shop: RunningShop, *, times: int) -> bool:
    """Return whether the first delivery has failed at least `times` times."""
    [first, *_] = await deliveries(idle_shop)
    described = await idle_shop.client.get_workflow_handle(first.process_id).describe()
    pending = described.raw_description.pending_activities
    return bool(pending) and pending[0].attempt > times


async def test_a_delivery_is_retried_when_the_receiver_answers_with_retry_after(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:
    receiver.status, receiver.headers = 503, {"Retry-After": "1"}
    await write_events(shop.data, event("cart/1", 1), event("cart/1", 2))
    await poll_until(lambda: was_requested(receiver, times=2))
    assert [event["data"]["number"] for event in receiver.received] == [1] * len(receiver.received)
    receiver.status = 204
    assert await delivery_statuses(shop) == ["delivered"] * 2
    assert receiver.numbers("cart/1") == [1, 2]


async def was_requested(receiver: WebhookReceiver, *, times: int) -> bool:
    return len(receiver.received) >= times


async def test_a_receiver_that_answers_410_gets_no_further_requests(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:
    receiver.status = 410
    await write_events(shop.data, event("cart/1", 1), event("cart/1", 2))
    await wait_until_published(shop.data)
    assert await delivery_statuses(shop) == ["gone", "disabled"]
    await write_events(shop.data, event("cart/1", 3))
    await wait_until_published(shop.data)
    assert len(receiver.received) == 1
    [endpoint] = await shop.data.call(webhooks.list_endpoints)
    assert endpoint.disabled_at is not None


async def test_a_cancelled_delivery_lets_the_next_one_start_and_can_be_run_again(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:  # (N4)
    receiver.status, receiver.headers = 503, {"Retry-After": "40000"}
    await write_events(shop.data, event("cart/1", 1), event("cart/1", 2))
    await wait_until_published(shop.data)
    await poll_until(lambda: was_requested(receiver, times=1))
    receiver.status = 204
    first, second = await deliveries(shop)
    assert await run_status(shop, second) == WorkflowExecutionStatus.RUNNING
    await shop.client.get_workflow_handle(first.process_id).cancel()
    async with asyncio.timeout(SECONDS):
        await shop.client.get_workflow_handle(second.process_id).result()
    assert await run_status(shop, first) == WorkflowExecutionStatus.CANCELED
    again = await shop.client.start_workflow(
        DeliverWebhookWorkflow.run, first, id=first.process_id, task_queue=TASK_QUEUE
    )
    assert (await again.result()).status == "delivered"
    assert receiver.numbers("cart/1") == [2, 1]


async def test_a_delivery_that_is_run_again_posts_the_same_event_again(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:
    """A receiver that has lost an event can get it once more; one that has it knows it by its id."""
    await write_events(shop.data, event("cart/1", 1))
    await wait_until_published(shop.data)
    assert await delivery_statuses(shop) == ["delivered"]
    [delivery], posted = await deliveries(shop), len(receiver.received)
    again = await start(shop.client, "deliver-webhook", delivery)
    assert (await again.result())["status"] == "delivered"
    assert len(receiver.received) > posted
    assert {event["id"] for event in receiver.received} == {str(delivery.event_id)}


async def test_a_delivery_of_an_unknown_event_fails_with_event_not_found(
    shop: RunningShop, receiver: WebhookReceiver
) -> None:
    await write_events(shop.data, event("cart/1", 1))
    [known] = await deliveries(shop)
    unknown = known.model_copy(update={"event_id": known.endpoint_id})
    with pytest.raises(WorkflowFailureError) as failure:
        await shop.client.execute_workflow(
            DeliverWebhookWorkflow.run,
            unknown,
            id=unknown.process_id,
            task_queue=TASK_QUEUE,
            run_timeout=timedelta(seconds=SECONDS),
        )
    assert isinstance(failure.value.cause, ApplicationError)
    assert failure.value.cause.type == "EventNotFound"
