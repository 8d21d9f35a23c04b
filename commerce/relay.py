"""The relay: publishes outbox events to subscribers and webhooks, in order per aggregate (N3).

Subscribers start processes, such as an order's, and come first (N7): events that have subscribers never wait for the
webhook deliveries of other events. Each of the two is a lane with its own batches. An event counts as published when
all its subscribers and webhook deliveries have accepted it. Every worker has a relay, and
one of them publishes at a time: the one whose connection holds a PostgreSQL advisory lock. When that connection is
lost, so is the lock, and the relay of another worker takes over. After a crash, events can be published twice, so
subscribers must be idempotent.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn
from uuid import UUID

import asyncpg
import structlog
from pydantic import TypeAdapter
from pydantic_core import from_json

from commerce.database import IDLE_TIMEOUT
from commerce.errors import CommerceError, Unreachable
from commerce.messages.webhooks import WebhookDelivery
from commerce.outbox import CHANNEL
from commerce.postgres import connect

LOCK = 0x0B5E55ED  # an arbitrary number that nothing else locks
BATCH = 200  # events
CONCURRENCY = 20  # aggregates
POLL_INTERVAL = 1.0  # seconds; notifications only make it faster
QUERY_TIMEOUT = 30  # seconds
BATCH_TIME = 10  # seconds after which a batch ends early, because its connection must not be idle for too long
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a failed event is tried again
CONNECTION_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
# The oldest events first. Whatever order transactions commit in, an aggregate's events are never skipped.
UNPUBLISHED = """
    SELECT id, sequence, type, aggregate, data, created_at, traceparent, handled_at FROM outbox_events
    WHERE published_at IS NULL AND aggregate <> ALL($1::text[]) ORDER BY sequence LIMIT $2
"""
# Of the types with subscribers; looked up by type, so that a backlog of other types costs nothing.
UNHANDLED = """
    SELECT event.* FROM unnest($3::text[]) AS wanted (type), LATERAL (
        SELECT id, sequence, type, aggregate, data, created_at, traceparent, handled_at FROM outbox_events
        WHERE published_at IS NULL AND handled_at IS NULL AND type = wanted.type AND aggregate <> ALL($1::text[])
        ORDER BY sequence LIMIT $2) AS event
    ORDER BY sequence LIMIT $2
"""
# `after` is the event of the same aggregate that an endpoint must get before this one.
WITH_DELIVERIES = """
    WITH waiting AS ({})
    SELECT id, type, aggregate, data, created_at, traceparent, handled_at IS NOT NULL AS handled, (
        SELECT jsonb_agg(jsonb_build_object('endpoint_id', endpoint.id, 'event_id', waiting.id, 'after', (
            SELECT earlier.id FROM outbox_events AS earlier
            WHERE earlier.aggregate = waiting.aggregate AND earlier.sequence < waiting.sequence
              AND endpoint.event_types ?| ARRAY[earlier.type, '*']
            ORDER BY earlier.sequence DESC LIMIT 1)))
        FROM webhook_endpoints AS endpoint
        WHERE disabled_at IS NULL AND event_types ?| ARRAY[waiting.type, '*']
    ) AS deliveries
    FROM waiting ORDER BY sequence
"""
MARK_HANDLED = "UPDATE outbox_events SET handled_at = clock_timestamp() WHERE id = ANY($1::uuid[])"
MARK_PUBLISHED = "UPDATE outbox_events SET published_at = clock_timestamp() WHERE id = ANY($1::uuid[])"

log = structlog.stdlib.get_logger("commerce.relay")
_deliveries = TypeAdapter(list[WebhookDelivery])


@dataclass(frozen=True)
class PendingEvent:
    """An event to publish, and the deliveries to the webhooks that subscribe to it."""

    id: UUID
    type: str
    aggregate: str
    data: dict[str, Any]
    deliveries: Sequence[WebhookDelivery] = ()
    created_at: datetime | None = None
    traceparent: str | None = None
    handled: bool = False  # all subscribers have accepted it


Publish = Callable[[PendingEvent], Awaitable[None]]


@dataclass(frozen=True)
class Subscribers:
    """What starts the processes of events of these types; `publish` returns when all of them have been started."""

    types: Collection[str]
    publish: Publish


@dataclass(frozen=True)
class _Pause:
    seconds: float
    until: float


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
        outbox = _Outbox(connection, self._on_published)
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


class _Outbox:
    """The relay's connection, which both lanes use in turn, and the aggregates that wait after an error."""

    def __init__(self, connection: asyncpg.Connection, on_published: Callable[[Mapping[str, int]], None]) -> None:
        self._connection = connection
        self._free = asyncio.Lock()
        self._on_published = on_published
        self._pauses: dict[str, _Pause] = {}  # by aggregate

    async def fetch(self, query: str, *values: object) -> list[PendingEvent]:
        """Return a batch of events whose aggregates are not paused."""
        now = time.monotonic()
        paused = [aggregate for aggregate, pause in self._pauses.items() if pause.until > now]
        async with self._free:
            rows = await self._connection.fetch(WITH_DELIVERIES.format(query), paused, BATCH, *values)
        return [_event(row) for row in rows]

    async def mark_handled(self, events: Sequence[PendingEvent]) -> None:
        """Record that all subscribers have accepted these events."""
        await self._mark(MARK_HANDLED, events)

    async def mark_published(self, events: Sequence[PendingEvent]) -> None:
        """Record that these events are published, and report their number."""
        if events:
            await self._mark(MARK_PUBLISHED, events)
            self._on_published(Counter(event.type for event in events))

    async def _mark(self, statement: str, events: Sequence[PendingEvent]) -> None:
        if events:
            async with self._free:
                await self._connection.execute(statement, [event.id for event in events])

    def pause(self, event: PendingEvent, error: Exception) -> None:
        """Pause the aggregate of a failed event, twice as long after each failure."""
        before = self._pauses.get(event.aggregate)
        seconds = min(2 * before.seconds, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._pauses[event.aggregate] = _Pause(seconds, time.monotonic() + seconds)
        expected = isinstance(error, CommerceError)
        log.warning(
            "event postponed",
            event_id=str(event.id),
            event_type=event.type,
            error=str(error) if expected else type(error).__name__,
            again_in_seconds=seconds,
            exc_info=None if expected else error,
        )

    def end_pause(self, aggregate: str) -> None:
        """Forget the failures of an aggregate."""
        self._pauses.pop(aggregate, None)


class _Lane:
    """Passes events to `publish` in batches: several aggregates at once, the events of one in order."""

    def __init__(self, outbox: _Outbox, publish: Publish, poll_interval: float) -> None:
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
        try:
            await asyncio.wait_for(self._notified.wait(), self._poll_interval)
        except TimeoutError:
            return

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

    def __init__(self, outbox: _Outbox, subscribers: Subscribers, poll_interval: float, then: _Lane) -> None:
        super().__init__(outbox, subscribers.publish, poll_interval)
        self._types = list(subscribers.types)
        self._then = then

    async def fetch(self) -> list[PendingEvent]:
        return await self._outbox.fetch(UNHANDLED, self._types)

    async def mark(self, events: Sequence[PendingEvent]) -> None:
        """Mark events that no webhook wants as published, and leave the others to the second lane."""
        await self._outbox.mark_handled([event for event in events if event.deliveries])
        await self._outbox.mark_published([event for event in events if not event.deliveries])
        self._then.wake()


class _Deliveries(_Lane):
    """The second lane: the webhook deliveries of all events, each after its subscribers."""

    def __init__(
        self, outbox: _Outbox, deliver: Publish, poll_interval: float, subscribers: Subscribers | None
    ) -> None:
        super().__init__(outbox, deliver, poll_interval)
        self._types = frozenset(subscribers.types if subscribers else ())

    async def fetch(self) -> list[PendingEvent]:
        """Return the next batch without the events that the first lane has yet to handle, and those behind them."""
        waiting: set[str] = set()
        ready = []
        for event in await self._outbox.fetch(UNPUBLISHED):
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


def _event(row: asyncpg.Record) -> PendingEvent:
    return PendingEvent(
        row["id"],
        row["type"],
        row["aggregate"],
        from_json(row["data"]),
        _deliveries.validate_json(row["deliveries"]) if row["deliveries"] else (),
        row["created_at"],
        row["traceparent"],
        row["handled"],
    )
