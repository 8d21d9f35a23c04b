"""Facts to publish, written in the transaction that made them true (N3)."""

from typing import Any
from uuid import UUID, uuid5

from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.tables import OutboxEvent

NAMESPACE = UUID("5e0c3ad5-0b9c-4c39-9a37-6d2b5b1f0f6e")  # never change it: an event's id must stay what it was


async def publish(tx: AsyncSession, *, key: str, type: str, aggregate: str, data: dict[str, Any]) -> None:  # noqa: A002 - CloudEvents' word
    """Write an event once per key: the same key again changes nothing.

    `type` is the name without prefix (`order.fulfilled`), `aggregate` what the event is about (`order/1001`) and the
    scope of its order; `data` holds JSON values: ids, amounts, times; nothing personal.
    """
    event = {"id": uuid5(NAMESPACE, key), "type": type, "aggregate": aggregate, "data": data}
    await tx.execute(insert(OutboxEvent).values(event).on_conflict_do_nothing())
