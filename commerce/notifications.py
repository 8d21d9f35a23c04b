"""The queue of mails and alerts: queued in the transaction that causes them, sent once per key afterwards (N1)."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.errors import StepInProgress
from commerce.messages.notifications import Sent

MAX_ERROR = 200  # characters

# An alert may be about an order that does not exist: then it is about none.
QUEUE = text("""
    INSERT INTO notifications (key, kind, recipient, order_id, data, message_id)
    VALUES (:key, :kind, :recipient, (SELECT id FROM orders WHERE id = :order_id), CAST(:data AS jsonb), :message_id)
    ON CONFLICT (key) DO NOTHING
""")
# The first attempt completes the Message-ID with the shop's domain; later ones find it complete.
CLAIM = text("""
    UPDATE notifications
    SET status = 'sending', attempts = attempts + 1, lease_until = clock_timestamp() + CAST(:lease AS interval),
        message_id = CASE WHEN message_id LIKE '<%' THEN message_id ELSE '<' || message_id || '@' || :domain || '>' END
    WHERE key = :key
      AND (status IN ('queued', 'failed') OR status = 'sending' AND coalesce(lease_until <= clock_timestamp(), true))
    RETURNING key, kind, recipient, order_id, data, message_id, attempts
""")
STATUS = text("SELECT status FROM notifications WHERE key = :key")
SENT = text("""
    UPDATE notifications SET status = 'sent', sent_at = clock_timestamp(), lease_until = NULL, error = NULL
    WHERE key = :key AND status <> 'sent'
""")
RELEASE = text("""
    UPDATE notifications SET status = 'queued', lease_until = NULL
    WHERE key = :key AND status = 'sending' AND attempts = :attempts
""")
FAILED = text("""
    UPDATE notifications SET status = 'failed', lease_until = NULL, error = :error
    WHERE key IN (CAST(:key AS text), CAST(:key AS text) || '/webhook') AND status <> 'sent'
""")


@dataclass(frozen=True)
class Notification:
    """A notification as one attempt has claimed it; `attempts` counts this one too."""

    key: str
    kind: str
    recipient: str
    order_id: str | None
    data: dict[str, Any]
    message_id: str
    attempts: int


async def queue(
    tx: AsyncSession,
    *,
    key: str,
    kind: str,
    recipient: str,
    order_id: str | None = None,
    data: dict[str, Any] | None = None,
) -> None:
    """Write down that somebody is to be told, in the caller's transaction; a key that is known already stays as it is.

    `recipient`: one address or several separated by commas; `data`: what the template needs, plain JSON values.
    """
    values = {"key": key, "kind": kind, "recipient": recipient, "order_id": order_id}
    await tx.execute(QUEUE, values | {"data": json.dumps(data or {}), "message_id": str(uuid4())})


async def claim(tx: AsyncSession, key: str, *, lease: timedelta, domain: str) -> Notification | Sent:
    """Take a notification for one attempt, for the time of the lease; or tell how it has ended already.

    `skipped`: nobody is to be told. `domain`: what the Message-ID ends with. Raises StepInProgress while another
    attempt holds its lease.
    """
    row = (await tx.execute(CLAIM, {"key": key, "lease": lease, "domain": domain})).mappings().one_or_none()
    if row is not None:
        return Notification(**row)
    status = (await tx.execute(STATUS, {"key": key})).scalar_one_or_none()
    if status in (None, "sent"):
        return Sent(status="sent" if status else "skipped")
    raise StepInProgress(f"send {key}")


async def sent(tx: AsyncSession, key: str) -> None:
    """Record that somebody has been told."""
    await tx.execute(SENT, {"key": key})


async def release(tx: AsyncSession, attempt: Notification) -> None:
    """Record that an attempt has failed: the next one may begin at once."""
    await tx.execute(RELEASE, {"key": attempt.key, "attempts": attempt.attempts})


async def failed(tx: AsyncSession, key: str, error: str) -> None:
    """Record that a notification is given up, and why; what was sent stays sent. The error holds nothing personal."""
    await tx.execute(FAILED, {"key": key, "error": error[:MAX_ERROR]})
