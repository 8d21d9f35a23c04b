"""The outbox: events, written in the transaction that makes them true (N3). The relay publishes them."""

from typing import Any, NamedTuple
from uuid import UUID, uuid5

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.events import EVENTS, EventData
from commerce.telemetry.trace_context import current_traceparent

NAMESPACE = UUID("5e0c3ad5-0b9c-4c39-9a37-6d2b5b1f0f6e")  # must never change: the ids of known events depend on it
CHANNEL = "commerce_outbox"  # PostgreSQL notifies the relay here when new events are committed
EVENT_NAMES = tuple(event.type for event in EVENTS)

# clock_timestamp(), not the start of the transaction, which may have waited for another one.
INSERT = text("""
    WITH written AS (
        INSERT INTO outbox_events (id, type, aggregate, data, traceparent, created_at)
        SELECT event.*, CAST(:traceparent AS text), clock_timestamp() FROM jsonb_to_recordset(CAST(:events AS jsonb))
            AS event (id uuid, type text, aggregate text, data jsonb)
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    SELECT pg_notify(:channel, '') WHERE EXISTS (SELECT FROM written)
""")


class NewEvent(NamedTuple):
    """An event to write, once per key.

    `type` is the name without prefix (`order.fulfilled`). `aggregate` is what the event is about (`order/1001`); events
    of one aggregate stay in order. `data` holds JSON values: ids, amounts and times, but no personal data.
    """

    key: str
    type: str
    aggregate: str
    data: dict[str, Any]

    @classmethod
    def from_data(cls, data: EventData, *, aggregate: str, key: str) -> "NewEvent":
        """Return the event with this data; `key` distinguishes it from other events of its type."""
        return cls(f"{data.type}/{key}", data.type, aggregate, data.model_dump(mode="json"))


def event_id(key: str) -> UUID:
    """Return the id of the event with this key."""
    return uuid5(NAMESPACE, key)


async def add(tx: AsyncSession, *events: NewEvent) -> None:
    """Write events in this order with one statement, each once per key. The commit wakes the relay.

    Subscribers and webhook deliveries continue the trace in which the events were written.
    """
    rows = [
        {"id": event_id(key), "type": kind, "aggregate": aggregate, "data": data}
        for key, kind, aggregate, data in events
    ]
    context = {"traceparent": current_traceparent(), "channel": CHANNEL}
    await tx.execute(INSERT, {"events": to_json(rows).decode()} | context)
