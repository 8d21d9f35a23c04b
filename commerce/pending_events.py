"""The events that the relay has still to publish, read and marked over the relay's one connection."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import structlog
from pydantic import TypeAdapter
from pydantic_core import from_json

from commerce.errors import CommerceError
from commerce.messages.webhooks import WebhookDelivery

BATCH = 200  # events
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds until a failed event is tried again

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


@dataclass(frozen=True)
class _Pause:
    seconds: float
    until: float


class PendingEvents:
    """Reads and marks events for the relay's lanes, which share its connection; pauses aggregates after an error."""

    def __init__(self, connection: asyncpg.Connection, on_published: Callable[[Mapping[str, int]], None]) -> None:
        self._connection = connection
        self._free = asyncio.Lock()
        self._on_published = on_published
        self._pauses: dict[str, _Pause] = {}  # by aggregate

    async def fetch_unhandled(self, types: Sequence[str]) -> list[PendingEvent]:
        """Return a batch of events of these types that not all subscribers have accepted."""
        return await self._fetch(UNHANDLED, types)

    async def fetch_unpublished(self) -> list[PendingEvent]:
        """Return a batch of the oldest events."""
        return await self._fetch(UNPUBLISHED)

    async def _fetch(self, query: str, *values: object) -> list[PendingEvent]:
        """Return a batch without the events of paused aggregates."""
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
