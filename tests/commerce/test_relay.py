"""The relay publishes every event, in order per aggregate, also after failures and crashes (N3)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, cast
from uuid import UUID

import asyncpg
import pytest

from commerce import outbox, webhooks
from commerce.database import Database
from commerce.errors import Unreachable
from commerce.outbox import CHANNEL, NewEvent
from commerce.pending_events import BATCH, PendingEvent
from commerce.relay import Relay, Subscribers, _Lane
from tests.commerce.shop import Shop

SECONDS = 120
RELAY_HAS_QUERIED = """
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE application_name = 'commerce relay' AND datname = current_database() AND query_start > :now AND state = 'idle'
"""
TERMINATE_RELAYS = """
    SELECT pg_terminate_backend(pid) FROM pg_locks
    WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""  # of this database only: tests share the server
INSERT_WITHOUT_NOTIFICATION = """
    INSERT INTO outbox_events (id, type, aggregate, data) VALUES (uuidv7(), 'cart.expired', 'cart/1', '{"number": 1}')
"""
COUNT_UNPUBLISHED = "SELECT count(*) FROM outbox_events WHERE published_at IS NULL"


class FakePublisher:
    """Records events while `unblocked`, unless `error_for` returns an error to raise for them."""

    def __init__(self) -> None:
        self.numbers: dict[str, list[int]] = defaultdict(list)  # by aggregate, in order of publication
        self.events: list[PendingEvent] = []
        self.error_for: Callable[[PendingEvent], Exception | None] = lambda _: None
        self.calls: Counter[str] = Counter()  # by aggregate
        self.unblocked = asyncio.Event()
        self.unblocked.set()

    async def __call__(self, event: PendingEvent) -> None:
        self.calls[event.aggregate] += 1
        await self.unblocked.wait()
        if error := self.error_for(event):
            raise error
        self.events.append(event)
        self.numbers[event.aggregate].append(event.data["number"])


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@asynccontextmanager
async def relaying(
    url: str,
    publish: Callable[[PendingEvent], Awaitable[None]],
    subscribers: Subscribers | None = None,
    *,
    poll_interval: float = 0.2,
) -> AsyncIterator[asyncio.Task[object]]:
    """Run a relay during the block."""
    relay = Relay(url, publish, subscribers, poll_interval=poll_interval)
    task: asyncio.Task[object] = asyncio.create_task(relay.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def event(aggregate: str, number: int, kind: str = "cart.expired") -> NewEvent:
    return NewEvent(f"{aggregate}/{number}", kind, aggregate, {"number": number})


async def write(shop: Shop, *events: NewEvent) -> None:
    await shop.call(outbox.add, *events)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)


async def until_published(shop: Shop, left: int = 0) -> None:
    async def is_published() -> bool:
        return await shop.sql(COUNT_UNPUBLISHED) == [left]

    await until(is_published)


async def test_every_event_is_published_in_order_per_aggregate(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:  # (N3)
    numbers = range(2 * BATCH // 7)
    await write(shop, *(event(f"cart/{cart}", number) for number in numbers for cart in range(7)))
    async with relaying(database_url, publisher):
        await until_published(shop)
        await write(shop, event("cart/3", 1_000), event("cart/3", 1_001))
        await until_published(shop)
    assert publisher.numbers.pop("cart/3") == [*numbers, 1_000, 1_001]
    assert list(publisher.numbers.values()) == [list(numbers)] * 6


async def test_published_events_are_reported_by_type(shop: Shop, database_url: str, publisher: FakePublisher) -> None:
    reported: Counter[str] = Counter()
    publisher.error_for = lambda event: Unreachable("Temporal is unreachable") if event.aggregate == "cart/2" else None
    await write(shop, event("cart/1", 1), event("cart/1", 2, "order.placed"), event("cart/2", 1))
    relay = asyncio.create_task(Relay(database_url, publisher, poll_interval=0.2, on_published=reported.update).run())

    async def all_reported() -> bool:
        return reported.total() == 2

    await until(all_reported)
    relay.cancel()
    await asyncio.wait([relay])
    assert reported == {"cart.expired": 1, "order.placed": 1}


async def test_nothing_is_lost_when_transactions_commit_out_of_order(
    shop: Shop, database: Database, database_url: str, publisher: FakePublisher
) -> None:
    async with relaying(database_url, publisher):
        async with database.transaction() as tx:
            await outbox.add(tx, event("cart/early", 1))
            await write(shop, event("cart/late", 1))
            await until_published(shop)
            assert list(publisher.numbers) == ["cart/late"]
        await until_published(shop)
    assert list(publisher.numbers) == ["cart/late", "cart/early"]


async def test_a_failed_event_pauses_only_its_aggregate(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:  # (N4)
    broken = True
    publisher.error_for = lambda event: ValueError("broken") if broken and event.id == first else None
    odd = event("cart/odd", 1)
    first = outbox.event_id(odd.key)
    await write(shop, odd, event("cart/even", 1), event("cart/odd", 2), event("cart/even", 2))
    async with relaying(database_url, publisher):
        await until_published(shop, left=2)
        assert publisher.numbers == {"cart/even": [1, 2]}
        await until_called(publisher, "cart/odd", times=2)
        broken = False
        await until_published(shop)
    assert publisher.numbers == {"cart/even": [1, 2], "cart/odd": [1, 2]}


async def until_called(publisher: FakePublisher, aggregate: str, *, times: int) -> None:
    async def called() -> bool:
        return publisher.calls[aggregate] >= times

    await until(called)


async def test_when_temporal_is_unreachable_the_rest_of_the_batch_is_not_tried(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:
    unreachable = True
    publisher.error_for = lambda _: Unreachable("Temporal is unreachable") if unreachable else None
    await write(shop, *(event(f"cart/{number}", 1) for number in range(BATCH)))
    async with relaying(database_url, publisher):
        await until_called(publisher, "cart/0", times=1)
        assert publisher.calls.total() < BATCH
        unreachable = False
        await until_published(shop)
    assert len(publisher.numbers) == BATCH


async def test_one_relay_publishes_and_another_takes_over_when_its_connection_is_lost(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:
    other = FakePublisher()
    await write(shop, event("cart/1", 1))
    async with relaying(database_url, publisher):
        await until_published(shop)
        async with relaying(database_url, other):
            publisher.unblocked.clear()
            await write(shop, *(event("cart/1", number) for number in range(2, 50)))
            await until_called(publisher, "cart/1", times=2)
            await until_a_relay_has_queried(shop)
            assert not other.numbers
            publisher.unblocked.set()
            await until_published(shop)
            assert not other.numbers
            for number in range(50, 60):  # the active relay loses its connection each time
                await shop.sql(TERMINATE_RELAYS)
                await write(shop, event("cart/1", number))
                await until_published(shop)
    both = publisher.events + other.events
    assert {event.data["number"] for event in both} == set(range(1, 60))
    assert publisher.numbers["cart/1"] == sorted(publisher.numbers["cart/1"])
    assert other.numbers["cart/1"] == sorted(other.numbers["cart/1"])


async def until_a_relay_has_queried(shop: Shop) -> None:
    """Wait until a relay has completed a query."""
    [now] = await shop.sql("SELECT clock_timestamp()")

    async def has_queried() -> bool:
        return await shop.sql(RELAY_HAS_QUERIED, now=now) == [True]

    await until(has_queried)


async def test_a_commit_wakes_the_relay(shop: Shop, database_url: str, publisher: FakePublisher) -> None:
    await write(shop, event("cart/1", 1))
    async with relaying(database_url, publisher, poll_interval=3600):
        await until_published(shop)
        await write(shop, event("cart/1", 2))
        await until_published(shop)
    assert publisher.numbers == {"cart/1": [1, 2]}


async def test_an_event_without_notification_is_found_by_polling(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:
    async with relaying(database_url, publisher):
        await shop.sql(INSERT_WITHOUT_NOTIFICATION)
        await until_published(shop)
    assert publisher.numbers == {"cart/1": [1]}


async def test_a_relay_survives_an_unreachable_database(unused_url: str, publisher: FakePublisher) -> None:
    async with relaying(unused_url, publisher) as relay:
        await asyncio.wait([relay], timeout=0.2)
        assert not relay.done()


@pytest.fixture
def unused_url() -> str:
    return "postgresql://ann:secret@127.0.0.1:1/shop"


async def test_a_commit_notifies_once_per_transaction_and_only_of_new_events(
    shop: Shop, database: Database, database_url: str
) -> None:
    notifications: list[object] = []
    connection = await asyncpg.connect(database_url)
    await connection.add_listener(CHANNEL, lambda *_: notifications.append(1))
    async with database.transaction() as tx:
        await outbox.add(tx, event("cart/1", 1), event("cart/2", 1))
        await outbox.add(tx, event("cart/3", 1))
        assert not notifications
    await write(shop, event("cart/1", 1))  # an event that is already there
    await connection.fetchval("SELECT 1")
    assert len(notifications) == 1
    await connection.close()


async def test_webhooks_get_the_events_they_subscribe_to_and_know_the_event_before(
    shop: Shop, database_url: str, publisher: FakePublisher
) -> None:
    everything = await shop.call(webhooks.add, "https://all.example")
    placed = await shop.call(webhooks.add, "https://placed.example", ["order.placed"])
    disabled = await shop.call(webhooks.add, "https://disabled.example")
    await shop.sql("UPDATE webhook_endpoints SET disabled_at = now() WHERE id = :id", id=disabled.id)
    kinds = ["order.placed", "order.fulfilled", "order.placed"]
    await write(shop, *(event("order/1", number, kind) for number, kind in enumerate(kinds)))
    async with relaying(database_url, publisher):
        await until_published(shop)
    first, second, third = publisher.events
    assert after(first, everything.id, placed.id) == [None, None]
    assert after(second, everything.id) == [first.id]
    assert after(third, everything.id, placed.id) == [second.id, first.id]


def after(event: PendingEvent, *endpoint_ids: UUID) -> Sequence[UUID | None]:
    """Return the event that each of these endpoints gets before this one; fail if others get this one too."""
    found = {delivery.endpoint_id: delivery.after for delivery in event.deliveries}
    assert set(found) == set(endpoint_ids)
    assert {delivery.event_id for delivery in event.deliveries} == {event.id}
    return [found[endpoint_id] for endpoint_id in endpoint_ids]


@pytest.fixture
def starter() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def subscribers(starter: FakePublisher) -> Subscribers:
    """A subscriber of placed orders."""
    return Subscribers(["order.placed"], starter)


async def until_started(starter: FakePublisher, count: int) -> None:
    async def started() -> bool:
        return len(starter.events) >= count

    await until(started)


async def test_a_placed_order_never_waits_for_deliveries(
    shop: Shop, database_url: str, publisher: FakePublisher, starter: FakePublisher, subscribers: Subscribers
) -> None:  # (N7)
    await shop.call(webhooks.add, "https://all.example")
    publisher.unblocked.clear()
    await write(shop, *(event(f"inventory/{n}", n, "inventory.updated") for n in range(2 * BATCH)))
    await write(shop, event("order/1", 1, "order.placed"))
    async with relaying(database_url, publisher, subscribers):
        await until_started(starter, 1)
        await write(shop, event("order/2", 1, "order.placed"))
        await until_started(starter, 2)
        assert publisher.events == []
        publisher.unblocked.set()
        await until_published(shop)
    assert [each.aggregate for each in starter.events] == ["order/1", "order/2"]
    assert len(publisher.events) == 2 * BATCH + 2


async def test_an_event_is_delivered_after_its_subscribers_and_in_order(
    shop: Shop, database_url: str, publisher: FakePublisher, starter: FakePublisher, subscribers: Subscribers
) -> None:
    await shop.call(webhooks.add, "https://all.example")
    broken = True
    starter.error_for = lambda each: ValueError("broken") if broken and each.aggregate == "order/1" else None
    kinds = ["order.placed", "order.fulfilled"]
    await write(shop, *(event(f"order/{n}", number, kind) for n in (1, 2) for number, kind in enumerate(kinds)))
    async with relaying(database_url, publisher, subscribers):
        await until_published(shop, left=2)
        await until_called(starter, "order/1", times=2)
        assert publisher.numbers == {"order/2": [0, 1]}
        broken = False
        await until_published(shop)
    assert publisher.numbers == {"order/2": [0, 1], "order/1": [0, 1]}
    assert starter.numbers == {"order/2": [0], "order/1": [0]}


async def test_a_failed_delivery_does_not_start_the_process_again(
    shop: Shop, database_url: str, publisher: FakePublisher, starter: FakePublisher, subscribers: Subscribers
) -> None:
    await shop.call(webhooks.add, "https://all.example")
    broken = True
    publisher.error_for = lambda _: ValueError("broken") if broken else None
    await write(shop, event("order/1", 1, "order.placed"))
    async with relaying(database_url, publisher, subscribers):
        await until_called(publisher, "order/1", times=2)
        broken = False
        await until_published(shop)
    assert starter.calls == {"order/1": 1}


async def test_an_event_that_no_webhook_wants_is_published_once_its_processes_have_started(
    shop: Shop, database_url: str, publisher: FakePublisher, starter: FakePublisher, subscribers: Subscribers
) -> None:
    await write(shop, event("order/1", 1, "order.placed"))
    async with relaying(database_url, publisher, subscribers):
        await until_published(shop)
    assert (len(starter.events), len(publisher.events)) == (1, 0)


@pytest.mark.parametrize("steps", range(6))  # of the event loop
async def test_a_cancel_that_arrives_together_with_a_notification_is_not_lost(steps: int) -> None:
    lane = _Lane(cast(Any, None), cast(Any, None), SECONDS)
    waiting = asyncio.create_task(lane._wait())
    await asyncio.sleep(0)
    lane.wake()
    for _ in range(steps):
        await asyncio.sleep(0)
    if waiting.cancel():  # otherwise it had ended already
        with pytest.raises(asyncio.CancelledError):
            await waiting
