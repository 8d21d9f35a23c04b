"""The relay: publishes outbox events to subscribers and webhooks, in order per aggregate (N3).

An event counts as published when all subscribers and webhook deliveries have accepted it. Every worker has a relay, and
one of them publishes at a time: the one whose connection holds a PostgreSQL advisory lock. When that connection is
lost, so is the lock, and the relay of another worker takes over. After a crash, events can be published twice, so
subscribers must be idempotent.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
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
# `after` is the event of the same aggregate that an endpoint must get before this one.
UNPUBLISHED = """
    WITH waiting AS (
        SELECT id, sequence, type, aggregate, data, created_at, traceparent FROM outbox_events
        WHERE published_at IS NULL AND aggregate <> ALL($1::text[])
        ORDER BY sequence LIMIT $2
    )
    SELECT id, type, aggregate, data, created_at, traceparent, (
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


@dataclass(frozen=True)
class _Pause:
    seconds: float
    until: float


class Relay:
    """Passes each event to `publish`, which returns when all subscribers have accepted it.

    `url` is the database's. `poll_interval`: seconds between queries for events without notification. `on_published`
    gets the number of published events by type, after every batch.
    """

    def __init__(
        self,
        url: str,
        publish: Callable[[PendingEvent], Awaitable[None]],
        *,
        poll_interval: float = POLL_INTERVAL,
        on_published: Callable[[Mapping[str, int]], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._publish = publish
        self._on_published = on_published
        self._poll_interval = poll_interval
        self._notified = asyncio.Event()
        self._pauses: dict[str, _Pause] = {}  # by aggregate
        self._unreachable = False  # no event can be published now, so the rest of the batch is not tried
        self._batch_deadline = 0.0

    async def run(self) -> NoReturn:
        """Publish events until cancelled; reconnect when the database connection is lost."""
        while True:
            try:
                connection = await _connect(self._url)
                try:
                    await self._relay(connection)
                finally:
                    connection.terminate()
            except CONNECTION_ERRORS as error:
                log.warning("relay is waiting for the database", error=type(error).__name__)
                await asyncio.sleep(self._poll_interval)

    async def _relay(self, connection: asyncpg.Connection) -> NoReturn:
        while not await connection.fetchval(TRY_LOCK, LOCK):  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(self._poll_interval)
        log.info("relay started")
        await connection.add_listener(CHANNEL, lambda *_: self._notified.set())
        while True:
            self._notified.clear()
            self._unreachable, self._batch_deadline = False, time.monotonic() + BATCH_TIME
            published = await self._publish_batch(connection)
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

    async def _publish_batch(self, connection: asyncpg.Connection) -> int:
        """Publish a batch, several aggregates at once; return the number of published events."""
        events = await self._fetch_unpublished(connection)
        slots = asyncio.Semaphore(CONCURRENCY)
        groups = await asyncio.gather(*(self._publish_group(group, slots) for group in _by_aggregate(events)))
        published = [event for group in groups for event in group]
        if published:
            await connection.execute(MARK_PUBLISHED, [event.id for event in published])
            self._on_published(Counter(event.type for event in published))
        return len(published)

    async def _fetch_unpublished(self, connection: asyncpg.Connection) -> list[PendingEvent]:
        now = time.monotonic()
        paused = [aggregate for aggregate, pause in self._pauses.items() if pause.until > now]
        return [_event(row) for row in await connection.fetch(UNPUBLISHED, paused, BATCH)]

    async def _publish_group(self, events: Iterable[PendingEvent], slots: asyncio.Semaphore) -> list[PendingEvent]:
        """Publish the events of one aggregate in order until one fails; return those that were published."""
        published: list[PendingEvent] = []
        async with slots:
            for event in events:
                if self._unreachable or time.monotonic() > self._batch_deadline:  # the next batch has the rest
                    break
                try:
                    await self._publish(event)
                except Exception as error:  # noqa: BLE001 - no error may keep other aggregates from being published
                    self._pause(event, error)
                    break
                self._pauses.pop(event.aggregate, None)
                published.append(event)
        return published

    def _pause(self, event: PendingEvent, error: Exception) -> None:
        """Pause the aggregate of a failed event, twice as long after each failure."""
        before = self._pauses.get(event.aggregate)
        seconds = min(2 * before.seconds, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._pauses[event.aggregate] = _Pause(seconds, time.monotonic() + seconds)
        self._unreachable |= isinstance(error, Unreachable)
        expected = isinstance(error, CommerceError)
        log.warning(
            "event postponed",
            event_id=str(event.id),
            event_type=event.type,
            error=str(error) if expected else type(error).__name__,
            again_in_seconds=seconds,
            exc_info=None if expected else error,
        )


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
    )
