"""Webhooks that could not be used: list them, and try them again once the cause is gone."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MAX_LISTED = 100

LIST = text(f"""
    SELECT received_at, platform, topic, delivery_id, problem, reason, body IS NOT NULL AS is_kept
    FROM intake_deliveries WHERE status = 'unusable' ORDER BY received_at DESC LIMIT {MAX_LISTED}
""")  # noqa: S608 - our own constant
RETRY = text("""
    UPDATE intake_deliveries SET status = 'waiting', problem = NULL, reason = NULL
    WHERE status = 'unusable' AND body IS NOT NULL
      AND (delivery_id = ANY(CAST(:ids AS text[])) OR cardinality(CAST(:ids AS text[])) = 0)
    RETURNING delivery_id
""")


class UnusableDelivery(NamedTuple):
    """A webhook that could not be used; `is_kept`: whether its body is, so that it can be tried again."""

    received_at: datetime
    platform: str
    topic: str
    delivery_id: str
    problem: str
    reason: str
    is_kept: bool


async def list_unusable(tx: AsyncSession) -> list[UnusableDelivery]:
    """Return at most MAX_LISTED such webhooks, the newest first."""
    return [UnusableDelivery(*row) for row in await tx.execute(LIST)]


async def retry(tx: AsyncSession, delivery_ids: Sequence[str] = ()) -> int:
    """Let a worker take these webhooks again, or all whose bodies are kept; return how many.

    The time at which the shop changed an order decides as always, so an order that is newer here stays as it is.
    """
    return len((await tx.execute(RETRY, {"ids": list(delivery_ids)})).all())
