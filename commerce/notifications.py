"""The queue of mails and alerts: written in the transaction that causes them, then sent once per key (N1)."""

import json
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import operator_actions
from commerce.errors import NotificationNotFound, ResendRefused, StepInProgress
from commerce.messages.notifications import SendOutcome
from commerce.messages.orders import order_process_id

MAX_ERROR = 200  # characters

# An alert may name an order that does not exist; it is queued without an order then.
QUEUE = text("""
    INSERT INTO notifications (key, kind, recipient, order_id, data, message_id)
    VALUES (:key, :kind, :recipient, (SELECT id FROM orders WHERE id = :order_id), CAST(:data AS jsonb), :message_id)
    ON CONFLICT (key) DO NOTHING RETURNING true
""")
# The first attempt completes the Message-ID with the shop's domain, and all later attempts use the same one.
CLAIM = text("""
    UPDATE notifications
    SET status = 'sending', attempts = attempts + 1, lease_until = clock_timestamp() + CAST(:lease AS interval),
        message_id = CASE WHEN message_id LIKE '<%' THEN message_id ELSE '<' || message_id || '@' || :domain || '>' END
    WHERE key = :key
      AND (status IN ('queued', 'failed') OR status = 'sending' AND coalesce(lease_until <= clock_timestamp(), true))
    RETURNING key, kind, recipient, order_id, data, message_id, attempts
""")
STATUS = text("SELECT status FROM notifications WHERE key = :key")
MARK_SENT = text("""
    UPDATE notifications SET status = 'sent', sent_at = clock_timestamp(), lease_until = NULL, error = NULL
    WHERE key = :key AND status <> 'sent'
""")
RELEASE = text("""
    UPDATE notifications SET status = 'queued', lease_until = NULL
    WHERE key = :key AND status = 'sending' AND attempts = :attempts
""")
# What is left behind: notifications that have waited for longer than their run takes to send them. Their run was
# terminated or reset, or has handed them over. The index ix_notifications_unsent finds them.
LEFT_BEHIND = text("""
    SELECT key FROM notifications
    WHERE status IN ('queued', 'sending') AND created_at < now() - CAST(:grace AS interval)
      AND coalesce(lease_until <= clock_timestamp(), true)
    ORDER BY created_at LIMIT :limit
""")
# The longer it has waited, the longer it waits again.
POSTPONE = text("""
    UPDATE notifications
    SET status = 'queued',
        lease_until = now() + least(greatest((now() - created_at) / 2, interval '1 minute'), interval '1 hour')
    WHERE key = :key AND status IN ('queued', 'sending') AND coalesce(lease_until <= clock_timestamp(), true)
""")
EXPIRE = text("""
    UPDATE notifications SET status = 'failed', lease_until = NULL, error = 'NotDelivered'
    WHERE status = 'queued' AND created_at < now() - CAST(:age AS interval)
""")
COPY = "/copy-"  # with a number, at the end of the key of a notification that was sent before and is sent again
MAX_COPIES = 20
LOCK_COPIES = text(
    "SELECT key, order_id, status FROM notifications WHERE key = ANY(:keys) ORDER BY key FOR NO KEY UPDATE"
)
QUEUE_COPY = text("""
    INSERT INTO notifications (key, kind, recipient, order_id, data, message_id)
    SELECT :copy, kind, recipient, order_id, data, :message_id FROM notifications WHERE key = :key
""")
# As new, because those that are queued for too long are given up.
QUEUE_AGAIN = text("""
    UPDATE notifications SET status = 'queued', error = NULL, lease_until = NULL, created_at = now() WHERE key = :key
""")
MARK_FAILED = text("""
    UPDATE notifications SET status = 'failed', lease_until = NULL, error = :error
    WHERE key IN (CAST(:key AS text), CAST(:key AS text) || '/webhook') AND status <> 'sent'
""")
# Outages are alerts: one when a service goes down, and one with the same id when it works again.
OUTAGE, RECOVERY = "service-unavailable", "service-recovered"  # kinds
LOCK_OUTAGES = text("SELECT pg_advisory_xact_lock(hashtext('commerce.outages'))")
LATEST_OUTAGE = text(f"""
    WITH outage AS (
        SELECT data ->> 'key' AS key, created_at FROM notifications
        WHERE kind = '{OUTAGE}' AND starts_with(data ->> 'key', :prefix) AND created_at > now() - interval '30 days'
        ORDER BY created_at DESC LIMIT 1
    ), recovered AS (
        SELECT key, '{RECOVERY}' || substr(key, length('{OUTAGE}') + 1) AS recovery FROM outage
    )
    SELECT key, created_at > now() - interval '1 hour' AS recent,
           EXISTS (SELECT FROM notifications WHERE key IN (recovery, recovery || '/webhook')) AS over
    FROM outage JOIN recovered USING (key)
""")  # noqa: S608 - our own kinds


@dataclass(frozen=True)
class Outage:
    """The latest outage of a service: the key of its alert, whether that is recent, and whether the outage is over."""

    key: str
    recent: bool
    over: bool


@dataclass(frozen=True)
class Notification:
    """A notification claimed for one attempt; `attempts` includes that one."""

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
) -> bool:
    """Queue a notification in the caller's transaction; returns False, without effect, if the key is already queued.

    `recipient`: one address or several separated by commas; `data`: variables for the templates, plain JSON values.
    """
    values = {"key": key, "kind": kind, "recipient": recipient, "order_id": order_id}
    queued = await tx.execute(QUEUE, values | {"data": json.dumps(data or {}), "message_id": str(uuid4())})
    return queued.one_or_none() is not None


async def claim(tx: AsyncSession, key: str, *, lease: timedelta, domain: str) -> Notification | SendOutcome:
    """Claim a notification for one attempt, or return its outcome: `sent`, or `skipped` if none has this key.

    `lease`: how long other attempts are kept out; `domain`: the domain part of the Message-ID. Raises StepInProgress
    while another attempt holds the lease.
    """
    row = (await tx.execute(CLAIM, {"key": key, "lease": lease, "domain": domain})).mappings().one_or_none()
    if row is not None:
        return Notification(**row)
    status = (await tx.execute(STATUS, {"key": key})).scalar_one_or_none()
    if status in (None, "sent"):
        return SendOutcome(status="sent" if status else "skipped")
    raise StepInProgress(f"send {key}")


async def latest_outage(tx: AsyncSession, prefix: str) -> Outage | None:
    """Return the latest outage whose alert's key has this prefix. Until this transaction ends, no other reports one."""
    await tx.execute(LOCK_OUTAGES)
    row = (await tx.execute(LATEST_OUTAGE, {"prefix": prefix})).mappings().one_or_none()
    return Outage(**row) if row else None


async def mark_sent(tx: AsyncSession, key: str) -> None:
    """Record that a notification has been sent."""
    await tx.execute(MARK_SENT, {"key": key})


async def release(tx: AsyncSession, attempt: Notification) -> None:
    """End the lease of a failed attempt, so that the next one can start at once."""
    await tx.execute(RELEASE, {"key": attempt.key, "attempts": attempt.attempts})


async def left_behind(tx: AsyncSession, *, grace: timedelta, limit: int) -> list[str]:
    """Return the keys of the oldest notifications unsent for longer than `grace` that nobody is sending."""
    return list((await tx.execute(LEFT_BEHIND, {"grace": grace, "limit": limit})).scalars())


async def postpone(tx: AsyncSession, key: str) -> None:
    """Leave a notification that nobody is sending out of what is left behind, for a minute to an hour."""
    await tx.execute(POSTPONE, {"key": key})


async def expire(tx: AsyncSession, age: timedelta) -> None:
    """Mark notifications as failed that are still queued at this age."""
    await tx.execute(EXPIRE, {"age": age})


async def resend(tx: AsyncSession, key: str, *, reason: str, actor: str) -> str:
    """Queue a notification again, for the workers to send within minutes; return the key of what will be sent.

    The action is recorded under the process of its order, if it has one.

    One that was sent is queued as a copy, with a Message-ID of its own. Raises NotificationNotFound, and ResendRefused
    while it, or a copy of it, waits to be sent. Raises BadInput for a wrong reason.
    """
    copies = [f"{key}{COPY}{number}" for number in range(1, MAX_COPIES + 1)]
    rows = (await tx.execute(LOCK_COPIES, {"keys": [key, *copies]})).all()
    known = {row.key: row.status for row in rows}
    if key not in known:
        raise NotificationNotFound(key)
    if {"queued", "sending"} & set(known.values()):
        raise ResendRefused(key, "it waits to be sent")
    about = order_process_id(rows[0].order_id) if rows[0].order_id else f"notification/{key}"
    action = operator_actions.validate_action(process_id=about, action="resend", reason=reason, actor=actor)
    await operator_actions.record(tx, action)
    if failed := next((each for each, status in known.items() if status == "failed"), None):
        await tx.execute(QUEUE_AGAIN, {"key": failed})
        return str(failed)
    copy = next((each for each in copies if each not in known), None)
    if copy is None:
        raise ResendRefused(key, f"it was sent {MAX_COPIES + 1} times")
    await tx.execute(QUEUE_COPY, {"key": key, "copy": copy, "message_id": str(uuid4())})
    return copy


async def mark_failed(tx: AsyncSession, key: str, error: str) -> None:
    """Mark a notification, and its copy for the webhook, as failed unless already sent.

    `error` must not contain personal data.
    """
    await tx.execute(MARK_FAILED, {"key": key, "error": error[:MAX_ERROR]})
