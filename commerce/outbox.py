"""Facts to publish, written in the transaction that made them true (N3)."""

from typing import Any, NamedTuple
from uuid import UUID, uuid5

from pydantic_core import to_json
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.messages.events import FACTS, Fact
from commerce.telemetry.trace_context import to_go_on_from

NAMESPACE = UUID("5e0c3ad5-0b9c-4c39-9a37-6d2b5b1f0f6e")  # never change it: an event's id must stay what it was
CHANNEL = "commerce_outbox"  # where PostgreSQL tells of new events once they are committed
TYPES = tuple(fact.type for fact in FACTS)

WRITE = text("""
    WITH written AS (
        INSERT INTO outbox_events (id, type, aggregate, data, traceparent)
        SELECT event.*, CAST(:traceparent AS text) FROM jsonb_to_recordset(CAST(:events AS jsonb))
            AS event (id uuid, type text, aggregate text, data jsonb)
        ON CONFLICT (id) DO NOTHING
        RETURNING id
    )
    SELECT pg_notify(:channel, '') WHERE EXISTS (SELECT FROM written)
""")


class Event(NamedTuple):
    """A fact, written once per key.

    `type` is the name without prefix (`order.fulfilled`), `aggregate` what the event is about (`order/1001`) and the
    scope of its order; `data` holds JSON values: ids, amounts, times; nothing personal.
    """

    key: str
    type: str
    aggregate: str
    data: dict[str, Any]

    @classmethod
    def of(cls, fact: Fact, *, aggregate: str, key: str) -> "Event":
        """Return the event that tells a fact; `key` is what tells it from others of its type."""
        return cls(f"{fact.type}/{key}", fact.type, aggregate, fact.model_dump(mode="json"))


def event_id(key: str) -> UUID:
    """Return the id of the event that is written under this key."""
    return uuid5(NAMESPACE, key)


async def publish(tx: AsyncSession, *events: Event) -> None:
    """Write events in this order by one statement, each once per key; the commit wakes the relay.

    Who takes them up goes on with the trace that they were written in.
    """
    rows = [
        {"id": event_id(key), "type": kind, "aggregate": aggregate, "data": data}
        for key, kind, aggregate, data in events
    ]
    about = {"traceparent": to_go_on_from(), "channel": CHANNEL}
    await tx.execute(WRITE, {"events": to_json(rows).decode()} | about)
