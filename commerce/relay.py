"""The relay: publishes outbox events to subscribers and webhooks, in order per aggregate (N3).

Subscribers start processes, such as an order's, and come first (N7): events that have subscribers never wait for the
webhook deliveries of other events. Each of the two is a lane with its own batches. An event counts as published when
all its subscribers and webhook deliveries have accepted it. Every worker has a relay, and one of them publishes at a
time: the one whose connection holds a PostgreSQL advisory lock. When that connection is lost, so is the lock, and the
relay of another worker takes over. After a crash, events can be published twice, so subscribers must be idempotent.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

import asyncpg
import structlog

from commerce.database import IDLE_TIMEOUT
from commerce.errors import Unreachable
from commerce.outbox import CHANNEL
from commerce.pending_events import PendingEvent, PendingEvents
from commerce.postgres import connect

LOCK = 0x0B5E55ED  # an arbitrary number that nothing else locks
CONCURRENCY = 20  # aggregates
POLL_INTERVAL = 1.0  # seconds; notifications only make it faster
QUERY_TIMEOUT = 30  # seconds
BATCH_TIME = 10  # seconds after which a batch ends early, because its connection must not be idle for too long
CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"

log = structlog.stdlib.get_logger("commerce.relay")
Publish = Callable[[PendingEvent], Awaitable[None]]


@dataclass(frozen=True)
class Subscribers:
    """What starts the processes of events of these types; `publish` returns when all of them have been started."""

    types: Collection[str]
    publish: Publish


class Relay:
    """Passes each event to `subscribers` if they want its type, and to `deliver`, which starts its webhook deliveries.

    Both return when they have accepted the event. `url` is the database's. `poll_interval`: seconds between queries for
    events without notification. `on_published` gets the number of published events by type, after every batch.
    """

    def __init__(
        self,
        url: str,
        deliver: Publish,
        subscribers: Subscribers | None = None,
        *,
        poll_interval: float = POLL_INTERVAL,
        on_published: Callable[[Mapping[str, int]], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._deliver = deliver
        self._subscribers = subscribers
        self._on_published = on_published
        self._poll_interval = poll_interval

    async def run(self) -> NoReturn:
        """Publish events until cancelled; reconnect when the database connection is lost."""
        while True:
            try:
                connection = await _connect(self._url)
                try:
                    await self._relay(connection)
                finally:
                    connection.terminate()
            except* CONNECTION_ERRORS as errors:
                log.warning("relay is waiting for the database", error=type(errors.exceptions[0]).__name__)
                await asyncio.sleep(self._poll_interval)

    async def _relay(self, connection: asyncpg.Connection) -> None:
        while not await connection.fetchval(TRY_LOCK, LOCK):  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(self._poll_interval)
        log.info("relay started")
        outbox = PendingEvents(connection, self._on_published)
        lanes: list[_Lane] = [_Deliveries(outbox, self._deliver, self._poll_interval, self._subscribers)]
        if self._subscribers:
            lanes.insert(0, _Starts(outbox, self._subscribers, self._poll_interval, then=lanes[0]))

        def wake(*_: object) -> None:
            for lane in lanes:
                lane.wake()

        await connection.add_listener(CHANNEL, wake)
        async with asyncio.TaskGroup() as running:
            for lane in lanes:
                running.create_task(lane.run())


class _Lane:
    """Passes events to `publish` in batches: several aggregates at once, the events of one in order."""

    def __init__(self, outbox: PendingEvents, publish: Publish, poll_interval: float) -> None:
        self._outbox = outbox
        self._publish = publish
        self._poll_interval = poll_interval
        self._notified = asyncio.Event()
        self._unreachable = False  # no event can be published now, so the rest of the batch is not tried
        self._batch_deadline = 0.0

    async def fetch(self) -> list[PendingEvent]:
        """Return the next batch."""
        raise NotImplementedError

    async def mark(self, events: Sequence[PendingEvent]) -> None:
        """Record that `publish` has accepted these events."""
        raise NotImplementedError

    def wake(self) -> None:
        """Look for events now, or right after the current batch."""
        self._notified.set()

    async def run(self) -> NoReturn:
        """Pass on events until cancelled."""
        while True:
            self._notified.clear()
            self._unreachable, self._batch_deadline = False, time.monotonic() + BATCH_TIME
            published = await self._publish_batch()
            if self._unreachable:
                await asyncio.sleep(self._poll_interval)
            elif not published:
                await self._wait()

    async def _wait(self) -> None:
        """Wait for a notification or the poll interval: polling finds events without notification, and ended pauses."""
        with suppress(TimeoutError):
            # Python 3.11's wait_for() loses a cancel that arrives together with the notification.
            async with asyncio.timeout(self._poll_interval):
                await self._notified.wait()

    async def _publish_batch(self) -> int:
        """Pass on a batch; return the number of accepted events."""
        events = await self.fetch()
        slots = asyncio.Semaphore(CONCURRENCY)
        groups = await asyncio.gather(*(self._publish_group(group, slots) for group in _by_aggregate(events)))
        published = [event for group in groups for event in group]
        await self.mark(published)
        return len(published)

    async def _publish_group(self, events: Iterable[PendingEvent], slots: asyncio.Semaphore) -> list[PendingEvent]:
        """Pass on the events of one aggregate in order until one fails; return those that were accepted."""
        published: list[PendingEvent] = []
        async with slots:
            for event in events:
                if self._unreachable or time.monotonic() > self._batch_deadline:  # the next batch has the rest
                    break
                try:
                    await self._publish(event)
                except Exception as error:  # noqa: BLE001 - no error may keep other aggregates from being published
                    self._outbox.pause(event, error)
                    self._unreachable |= isinstance(error, Unreachable)
                    break
                self._outbox.end_pause(event.aggregate)
                published.append(event)
        return published


class _Starts(_Lane):
    """The first lane: events that have subscribers."""

    def __init__(self, outbox: PendingEvents, subscribers: Subscribers, poll_interval: float, then: _Lane) -> None:
        super().__init__(outbox, subscribers.publish, poll_interval)
        self._types = list(subscribers.types)
        self._then = then

    async def fetch(self) -> list[PendingEvent]:
        return await self._outbox.fetch_unhandled(self._types)

    async def mark(self, events: Sequence[PendingEvent]) -> None:
        """Mark events that no webhook wants as published, and leave the others to the second lane."""
        await self._outbox.mark_handled([event for event in events if event.deliveries])
        await self._outbox.mark_published([event for event in events if not event.deliveries])
        self._then.wake()


class _Deliveries(_Lane):
    """The second lane: the webhook deliveries of all events, each after its subscribers."""

    def __init__(
        self, outbox: PendingEvents, deliver: Publish, poll_interval: float, subscribers: Subscribers | None
    ) -> None:
        super().__init__(outbox, deliver, poll_interval)
        self._types = frozenset(subscribers.types if subscribers else ())

    async def fetch(self) -> list[PendingEvent]:
        """Return the next batch without the events that the first lane has yet to handle, and those behind them."""
        waiting: set[str] = set()
        ready = []
        for event in await self._outbox.fetch_unpublished():
            if event.type in self._types and not event.handled:
                waiting.add(event.aggregate)
            if event.aggregate not in waiting:
                ready.append(event)
        return ready

    async def mark(self, events: Sequence[PendingEvent]) -> None:
        await self._outbox.mark_published(events)


async def _connect(url: str) -> asyncpg.Connection:
    """Open a connection that PostgreSQL closes when its client is silent, so that a frozen process loses the lock."""
    settings = {"application_name": "commerce relay", "idle_session_timeout": f"{IDLE_TIMEOUT}s"}
    keepalive = {"tcp_keepalives_idle": f"{IDLE_TIMEOUT}"}
    return await connect(url, command_timeout=QUERY_TIMEOUT, server_settings=settings | keepalive)


def _by_aggregate(events: Iterable[PendingEvent]) -> Iterable[list[PendingEvent]]:
    """Group events by aggregate, without changing their order."""
    groups: dict[str, list[PendingEvent]] = {}
    for event in events:
        groups.setdefault(event.aggregate, []).append(event)
    return groups.values()
