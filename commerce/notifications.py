"""Mails and alerts: queued in the transaction that has a reason to tell, sent once per key afterwards (N1)."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import letters
from commerce.database import Database
from commerce.errors import AlertUnavailable, MailUnavailable, PermanentError, StepInProgress
from commerce.integrations.alerts import AlertWebhook
from commerce.integrations.email import Mail, compose
from commerce.integrations.templates import render
from commerce.messages.notifications import Alert, Sent

SEND_TIMEOUT = timedelta(seconds=10)  # for one attempt to hand over
LEASE = timedelta(seconds=13)  # longer than an attempt, shorter than the start-to-close time of the step that makes it
MAX_ERROR = 200  # characters
WEBHOOK = "webhook"  # the recipient of an alert's second notification

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


class Notifier:
    """Sends what is queued. How often it is tried is the caller's business; `admins` are told of alerts."""

    def __init__(
        self, database: Database, mail: Mail, *, admins: Sequence[str] = (), webhook: AlertWebhook | None = None
    ) -> None:
        self._database = database
        self._mail = mail
        self._admins = ", ".join(admins)
        self._webhook = webhook

    async def deliver(self, key: str) -> Sent:
        """Send a notification unless it was sent; `skipped` when there is none of this key (V9).

        Raises MailRefused, which is recorded as its end; MailUnavailable, AlertUnavailable, StepInProgress,
        DatabaseUnavailable: try again.
        """
        async with self._database.transaction() as tx:
            claimed = await claim(tx, key, lease=LEASE, domain=self._mail.sender.domain)
            if isinstance(claimed, Sent):
                return claimed
            facts = await letters.facts(tx, claimed.kind, claimed.order_id, claimed.data)
        await self._attempt(claimed, facts)
        return Sent(status="sent")

    async def give_up(self, key: str, error: str) -> None:
        """Mark a notification as failed; `error` holds nothing personal."""
        async with self._database.transaction() as tx:
            await failed(tx, key, error)

    async def alert(self, alert: Alert) -> Sent:
        """Tell the admins by mail and webhook, as far as they are set, each once per key; both are tried.

        Raises what `deliver` raises, rather an error that trying again can mend.
        """
        keys = await self._queue_alert(alert)
        outcomes = await asyncio.gather(*(self.deliver(key) for key in keys), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, PermanentError))
        return Sent(status="sent" if keys else "skipped")

    async def alert_at_last(self, alert: Alert) -> bool:
        """Write an alert down and try it once more; False: it cannot be sent and stays there as failed.

        Raises DatabaseUnavailable.
        """
        await self._queue_alert(alert)
        try:
            await self.alert(alert)
        except (PermanentError, MailUnavailable, AlertUnavailable, StepInProgress) as error:
            await self.give_up(alert.key, type(error).__name__)
            return False
        return True

    async def _queue_alert(self, alert: Alert) -> list[str]:
        """Queue an alert for each way that is set: kinds are kebab-case in a mail, snake_case as a webhook's type."""
        ways = {alert.key: self._admins, f"{alert.key}/webhook": WEBHOOK if self._webhook else ""}
        told = alert.model_dump(exclude_none=True, exclude={"kind"}) | {"type": alert.kind.replace("-", "_")}
        async with self._database.transaction() as tx:
            for key, recipient in ways.items():
                if recipient:
                    kind = alert.kind.replace("_", "-")
                    await queue(tx, key=key, kind=kind, recipient=recipient, order_id=alert.order_id, data=told)
        return [key for key, recipient in ways.items() if recipient]

    async def _attempt(self, claimed: Notification, facts: dict[str, Any]) -> None:
        try:
            await self._send(claimed, facts)
        except PermanentError as error:
            await self.give_up(claimed.key, str(error))
            raise
        except BaseException:
            async with self._database.transaction() as tx:
                await release(tx, claimed)
            raise
        async with self._database.transaction() as tx:
            await sent(tx, claimed.key)

    async def _send(self, claimed: Notification, facts: dict[str, Any]) -> None:
        if claimed.recipient == WEBHOOK:
            await self._post(claimed)
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT.total_seconds()):
                await self._mail.send(await self._write(claimed, facts))
        except TimeoutError:
            raise MailUnavailable(f"no end within {SEND_TIMEOUT.seconds} s") from None

    async def _write(self, claimed: Notification, facts: dict[str, Any]) -> EmailMessage:
        sender = self._mail.sender
        known = facts | {"shop": sender.display_name or sender.domain, "key": claimed.key}
        letter = render(claimed.kind, known, await letters.images(claimed.kind, facts))
        headers = {"message_id": claimed.message_id, "kind": claimed.kind, "key": claimed.key}
        return compose(letter, sender, claimed.recipient, **headers)

    async def _post(self, claimed: Notification) -> None:
        if self._webhook is None:
            raise AlertUnavailable("no webhook is set any more")
        await self._webhook.post(claimed.data)
