"""The relay gives every event to everybody, in order per aggregate, whatever fails or dies meanwhile (N3)."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from uuid import UUID

import asyncpg
import pytest

from commerce import outbox, webhooks
from commerce.database import Database
from commerce.errors import Unreachable
from commerce.outbox import CHANNEL, Event
from commerce.relay import BATCH, OutboxEvent, Relay
from tests.commerce.shop import Shop

SECONDS = 20
LOOKED = """
    SELECT count(*) > 0 FROM pg_stat_activity
    WHERE application_name = 'commerce relay' AND datname = current_database() AND query_start > :now AND state = 'idle'
"""
UNTOLD = """
    INSERT INTO outbox_events (id, type, aggregate, data) VALUES (uuidv7(), 'cart.expired', 'cart/1', '{"number": 1}')
"""
STILL_WAITING = "SELECT count(*) FROM outbox_events WHERE published_at IS NULL"


class Taker:
    """Takes events while it is `free` and does not want to refuse them; tells by aggregate what it took, in order."""

    def __init__(self) -> None:
        self.took: dict[str, list[int]] = defaultdict(list)
        self.events: list[OutboxEvent] = []
        self.refused: Callable[[OutboxEvent], Exception | None] = lambda _: None
        self.asked: Counter[str] = Counter()
        self.free = asyncio.Event()
        self.free.set()

    async def __call__(self, event: OutboxEvent) -> None:
        self.asked[event.aggregate] += 1
        await self.free.wait()
        if error := self.refused(event):
            raise error
        self.events.append(event)
        self.took[event.aggregate].append(event.data["number"])


@pytest.fixture
def shop(database: Database) -> Shop:
    return Shop(database)


@pytest.fixture
def taker() -> Taker:
    return Taker()


@asynccontextmanager
async def relaying(
    url: str, give: Callable[[OutboxEvent], Awaitable[None]], *, poll: float = 0.2
) -> AsyncIterator[asyncio.Task[object]]:
    """Relay while the block runs."""
    task: asyncio.Task[object] = asyncio.create_task(Relay(url, give, poll=poll).run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def event(aggregate: str, number: int, kind: str = "cart.expired") -> Event:
    return Event(f"{aggregate}/{number}", kind, aggregate, {"number": number})


async def write(shop: Shop, *events: Event) -> None:
    await shop.do(outbox.publish, *events)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(SECONDS):
        while not await condition():  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.01)


async def all_published(shop: Shop, but: int = 0) -> None:
    async def done() -> bool:
        return await shop.sql(STILL_WAITING) == [but]

    await until(done)


async def test_everything_is_given_in_order_per_aggregate(shop: Shop, database_url: str, taker: Taker) -> None:  # (N3)
    numbers = range(2 * BATCH // 7)
    await write(shop, *(event(f"cart/{cart}", number) for number in numbers for cart in range(7)))
    async with relaying(database_url, taker):
        await all_published(shop)
        await write(shop, event("cart/3", 1_000), event("cart/3", 1_001))
        await all_published(shop)
    assert taker.took.pop("cart/3") == [*numbers, 1_000, 1_001]
    assert list(taker.took.values()) == [list(numbers)] * 6


async def test_what_all_have_taken_is_told_by_type(shop: Shop, database_url: str, taker: Taker) -> None:
    told: Counter[str] = Counter()
    taker.refused = lambda event: Unreachable("nobody there") if event.aggregate == "cart/2" else None
    await write(shop, event("cart/1", 1), event("cart/1", 2, "order.placed"), event("cart/2", 1))
    relay = asyncio.create_task(Relay(database_url, taker, poll=0.2, published=told.update).run())

    async def all_told() -> bool:
        return told.total() == 2

    await until(all_told)
    relay.cancel()
    await asyncio.wait([relay])
    assert told == {"cart.expired": 1, "order.placed": 1}


async def test_nothing_is_lost_when_transactions_commit_out_of_order(
    shop: Shop, database: Database, database_url: str, taker: Taker
) -> None:
    async with relaying(database_url, taker):
        async with database.transaction() as tx:
            await outbox.publish(tx, event("cart/early", 1))
            await write(shop, event("cart/late", 1))
            await all_published(shop)
            assert list(taker.took) == ["cart/late"]
        await all_published(shop)
    assert list(taker.took) == ["cart/late", "cart/early"]


async def test_who_cannot_take_an_event_holds_back_its_aggregate_only(
    shop: Shop, database_url: str, taker: Taker
) -> None:  # (N4)
    broken = True
    taker.refused = lambda event: ValueError("broken") if broken and event.id == first else None
    odd = event("cart/odd", 1)
    first = outbox.event_id(odd.key)
    await write(shop, odd, event("cart/even", 1), event("cart/odd", 2), event("cart/even", 2))
    async with relaying(database_url, taker):
        await all_published(shop, but=2)
        assert taker.took == {"cart/even": [1, 2]}
        await until_asked(taker, "cart/odd", times=2)
        broken = False
        await all_published(shop)
    assert taker.took == {"cart/even": [1, 2], "cart/odd": [1, 2]}


async def until_asked(taker: Taker, aggregate: str, *, times: int) -> None:
    async def asked() -> bool:
        return taker.asked[aggregate] >= times

    await until(asked)


async def test_when_nobody_can_be_reached_the_rest_is_not_tried_in_turn(
    shop: Shop, database_url: str, taker: Taker
) -> None:
    away = True

    def refused(_: OutboxEvent) -> Exception | None:
        return Unreachable("Temporal is away") if away else None

    taker.refused = refused
    await write(shop, *(event(f"cart/{number}", 1) for number in range(BATCH)))
    async with relaying(database_url, taker):
        await until_asked(taker, "cart/0", times=1)
        assert taker.asked.total() < BATCH
        away = False
        await all_published(shop)
    assert len(taker.took) == BATCH


async def test_one_relay_is_at_work_and_another_goes_on_when_its_connection_is_lost(
    shop: Shop, database_url: str, taker: Taker
) -> None:
    other = Taker()
    await write(shop, event("cart/1", 1))
    async with relaying(database_url, taker):
        await all_published(shop)
        async with relaying(database_url, other):
            taker.free.clear()
            await write(shop, *(event("cart/1", number) for number in range(2, 50)))
            await until_asked(taker, "cart/1", times=2)
            await until_somebody_looks(shop)
            assert not other.took
            taker.free.set()
            await all_published(shop)
            assert not other.took
            for number in range(50, 60):  # whoever is at work loses its connection each time
                await shop.sql("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'")
                await write(shop, event("cart/1", number))
                await all_published(shop)
    both = taker.events + other.events
    assert {event.data["number"] for event in both} == set(range(1, 60))
    assert taker.took["cart/1"] == sorted(taker.took["cart/1"])
    assert other.took["cart/1"] == sorted(other.took["cart/1"])


async def until_somebody_looks(shop: Shop) -> None:
    """Wait until a relay has asked the database for something and has its answer."""
    [now] = await shop.sql("SELECT clock_timestamp()")

    async def looked() -> bool:
        return await shop.sql(LOOKED, now=now) == [True]

    await until(looked)


async def test_a_commit_wakes_the_relay(shop: Shop, database_url: str, taker: Taker) -> None:
    await write(shop, event("cart/1", 1))
    async with relaying(database_url, taker, poll=3600):
        await all_published(shop)
        await write(shop, event("cart/1", 2))
        await all_published(shop)
    assert taker.took == {"cart/1": [1, 2]}


async def test_what_nobody_tells_of_is_found_all_the_same(shop: Shop, database_url: str, taker: Taker) -> None:
    async with relaying(database_url, taker):
        await shop.sql(UNTOLD)
        await all_published(shop)
    assert taker.took == {"cart/1": [1]}


async def test_a_relay_outlives_a_database_that_is_away(unused_url: str, taker: Taker) -> None:
    async with relaying(unused_url, taker) as relay:
        await asyncio.wait([relay], timeout=0.2)
        assert not relay.done()


@pytest.fixture
def unused_url() -> str:
    return "postgresql://ann:secret@127.0.0.1:1/shop"


async def test_a_commit_tells_once_per_transaction_and_only_of_what_is_new(
    shop: Shop, database: Database, database_url: str
) -> None:
    told: list[object] = []
    connection = await asyncpg.connect(database_url)
    await connection.add_listener(CHANNEL, lambda *_: told.append(1))
    async with database.transaction() as tx:
        await outbox.publish(tx, event("cart/1", 1), event("cart/2", 1))
        await outbox.publish(tx, event("cart/3", 1))
        assert not told
    await write(shop, event("cart/1", 1))  # known already
    await connection.fetchval("SELECT 1")
    assert len(told) == 1
    await connection.close()


async def test_webhooks_get_what_they_want_and_know_what_came_before(
    shop: Shop, database_url: str, taker: Taker
) -> None:
    everything = await shop.do(webhooks.add, "https://all.example")
    placed = await shop.do(webhooks.add, "https://placed.example", ["order.placed"])
    gone = await shop.do(webhooks.add, "https://gone.example")
    await shop.sql("UPDATE webhook_endpoints SET disabled_at = now() WHERE id = :id", id=gone.id)
    kinds = ["order.placed", "order.fulfilled", "order.placed"]
    await write(shop, *(event("order/1", number, kind) for number, kind in enumerate(kinds)))
    async with relaying(database_url, taker):
        await all_published(shop)
    first, second, third = taker.events
    assert after(first, everything.id, placed.id) == [None, None]
    assert after(second, everything.id) == [first.id]
    assert after(third, everything.id, placed.id) == [second.id, first.id]


def after(event: OutboxEvent, *endpoint_ids: UUID) -> Sequence[UUID | None]:
    """Return, for each of the endpoints that get this event, the event that they get before it."""
    found = {delivery.endpoint_id: delivery.after for delivery in event.deliveries}
    assert set(found) == set(endpoint_ids)
    assert {delivery.event_id for delivery in event.deliveries} == {event.id}
    return [found[endpoint_id] for endpoint_id in endpoint_ids]
