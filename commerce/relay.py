"""The relay: gives what was written to the outbox to everybody who wants it, in order per aggregate (N3).

An event counts as published once all have taken it. The relay of one worker is at work at a time: it holds a lock of
PostgreSQL's on its only connection, so with the connection goes the lock, and the relay of another worker goes on.
What it does again after a crash must be harmless: whoever takes events must bear to be given one twice.
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

LOCK = 0x0B5E55ED  # any number that nobody else locks
BATCH = 200  # events
AT_ONCE = 20  # aggregates
POLL = 1.0  # seconds; notifications make it faster, and nothing depends on them
QUERY_TIMEOUT = 30  # seconds
BATCH_TIME = 10  # seconds after which no more of a batch is given: the connection must not be idle for too long
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds before an event that somebody could not take is tried again
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)

TRY_LOCK = "SELECT pg_try_advisory_lock($1)"
# The oldest first, so of each aggregate its first ones: however transactions committed, nothing is passed over.
# Webhooks are told which earlier event of the aggregate to let go first.
WAITING = """
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
PUBLISHED = "UPDATE outbox_events SET published_at = clock_timestamp() WHERE id = ANY($1::uuid[])"

log = structlog.stdlib.get_logger("commerce.relay")
deliveries = TypeAdapter(list[WebhookDelivery])


@dataclass(frozen=True)
class OutboxEvent:
    """An event to give to others, and the deliveries to the webhooks that want it."""

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
    """Gives each event to `give`, which returns when everybody has taken it.

    `url` is the database's; `poll`: seconds between looks for what nobody told of; `published` hears how many events
    of each type were taken by all.
    """

    def __init__(
        self,
        url: str,
        give: Callable[[OutboxEvent], Awaitable[None]],
        *,
        poll: float = POLL,
        published: Callable[[Mapping[str, int]], None] = lambda _: None,
    ) -> None:
        self._url = url
        self._give = give
        self._published = published
        self._poll = poll
        self._woken = asyncio.Event()
        self._held: dict[str, _Pause] = {}
        self._unreachable = False  # nobody can take anything now: each would only wait for that in turn
        self._enough = 0.0

    async def run(self) -> NoReturn:
        """Relay until cancelled, and whenever the database is back."""
        while True:
            try:
                connection = await _connect(self._url)
                try:
                    await self._relay(connection)
                finally:
                    connection.terminate()
            except LOST as error:
                log.warning("relay waits for the database", error=type(error).__name__)
                await asyncio.sleep(self._poll)

    async def _relay(self, connection: asyncpg.Connection) -> NoReturn:
        while not await connection.fetchval(TRY_LOCK, LOCK):  # noqa: ASYNC110 - a server is asked
            await asyncio.sleep(self._poll)
        log.info("relay begins")
        await connection.add_listener(CHANNEL, lambda *_: self._woken.set())
        while True:
            self._woken.clear()
            self._unreachable, self._enough = False, time.monotonic() + BATCH_TIME
            published = await self._pass_on(connection)
            if self._unreachable:
                await asyncio.sleep(self._poll)
            elif not published:
                await self._wait()

    async def _wait(self) -> None:
        try:
            await asyncio.wait_for(self._woken.wait(), self._poll)
        except TimeoutError:
            return  # it is time to look for what nobody told of, and for what is held back no longer

    async def _pass_on(self, connection: asyncpg.Connection) -> int:
        """Give a batch to everybody, aggregates side by side; return how many events are published by it."""
        events = await self._waiting(connection)
        free = asyncio.Semaphore(AT_ONCE)
        taken = await asyncio.gather(*(self._in_order(group, free) for group in _by_aggregate(events)))
        published = [event for group in taken for event in group]
        if published:
            await connection.execute(PUBLISHED, [event.id for event in published])
            self._published(Counter(event.type for event in published))
        return len(published)

    async def _waiting(self, connection: asyncpg.Connection) -> list[OutboxEvent]:
        now = time.monotonic()
        held = [aggregate for aggregate, pause in self._held.items() if pause.until > now]
        return [_event(row) for row in await connection.fetch(WAITING, held, BATCH)]

    async def _in_order(self, events: Iterable[OutboxEvent], free: asyncio.Semaphore) -> list[OutboxEvent]:
        """Give the events of one aggregate, up to the first that somebody cannot take now; return what was taken."""
        taken: list[OutboxEvent] = []
        async with free:
            for event in events:
                if self._unreachable or time.monotonic() > self._enough:  # the rest is for the next batch
                    break
                try:
                    await self._give(event)
                except Exception as error:  # noqa: BLE001 - whatever it is, other aggregates are not to wait for it
                    self._hold(event, error)
                    break
                self._held.pop(event.aggregate, None)
                taken.append(event)
        return taken

    def _hold(self, event: OutboxEvent, error: Exception) -> None:
        before = self._held.get(event.aggregate)
        seconds = min(2 * before.seconds, LONGEST_PAUSE) if before else FIRST_PAUSE
        self._held[event.aggregate] = _Pause(seconds, time.monotonic() + seconds)
        self._unreachable |= isinstance(error, Unreachable)
        known = isinstance(error, CommerceError)
        reason = str(error) if known else type(error).__name__
        log.warning(
            "event held back",
            event_id=str(event.id),
            event_type=event.type,
            error=reason,
            again_in_seconds=seconds,
            exc_info=None if known else error,
        )


async def _connect(url: str) -> asyncpg.Connection:
    """Open a connection as the pool would; one that falls silent, as of a frozen process, loses the lock."""
    settings = {"application_name": "commerce relay", "idle_session_timeout": f"{IDLE_TIMEOUT}s"}
    keepalive = {"tcp_keepalives_idle": f"{IDLE_TIMEOUT}"}
    return await connect(url, command_timeout=QUERY_TIMEOUT, server_settings=settings | keepalive)


def _by_aggregate(events: Iterable[OutboxEvent]) -> Iterable[list[OutboxEvent]]:
    """Group events; groups and their events stay in the order that they came in."""
    groups: dict[str, list[OutboxEvent]] = {}
    for event in events:
        groups.setdefault(event.aggregate, []).append(event)
    return groups.values()


def _event(row: asyncpg.Record) -> OutboxEvent:
    wanted = deliveries.validate_json(row["deliveries"]) if row["deliveries"] else ()
    return OutboxEvent(
        row["id"],
        row["type"],
        row["aggregate"],
        from_json(row["data"]),
        wanted,
        row["created_at"],
        row["traceparent"],
    )
