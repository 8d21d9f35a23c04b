"""Sends what is queued in the table `notifications`: mails by SMTP, alerts by webhook too, each once per key (N1)."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from email.message import EmailMessage
from typing import Any

from commerce import notifications
from commerce.database import Database
from commerce.errors import AlertUnavailable, MailUnavailable, PermanentError, StepInProgress
from commerce.integrations.alerts import AlertWebhook
from commerce.mail import facts
from commerce.mail.render import render
from commerce.mail.smtp import Mail, compose
from commerce.messages.notifications import Alert, Sent
from commerce.notifications import Notification

SEND_TIMEOUT = timedelta(seconds=10)  # for one attempt to hand over
LEASE = timedelta(seconds=13)  # longer than an attempt, shorter than the start-to-close time of the step that makes it
WEBHOOK = "webhook"  # the recipient of an alert's second notification


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
            claimed = await notifications.claim(tx, key, lease=LEASE, domain=self._mail.sender.domain)
            if isinstance(claimed, Sent):
                return claimed
            found = await facts.facts(tx, claimed.kind, claimed.order_id, claimed.data)
        await self._attempt(claimed, found)
        return Sent(status="sent")

    async def give_up(self, key: str, error: str) -> None:
        """Mark a notification as failed; `error` holds nothing personal."""
        async with self._database.transaction() as tx:
            await notifications.failed(tx, key, error)

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
                    await notifications.queue(
                        tx, key=key, kind=kind, recipient=recipient, order_id=alert.order_id, data=told
                    )
        return [key for key, recipient in ways.items() if recipient]

    async def _attempt(self, claimed: Notification, known: dict[str, Any]) -> None:
        try:
            await self._send(claimed, known)
        except PermanentError as error:
            await self.give_up(claimed.key, str(error))
            raise
        except BaseException:
            async with self._database.transaction() as tx:
                await notifications.release(tx, claimed)
            raise
        async with self._database.transaction() as tx:
            await notifications.sent(tx, claimed.key)

    async def _send(self, claimed: Notification, known: dict[str, Any]) -> None:
        if claimed.recipient == WEBHOOK:
            await self._post(claimed)
            return
        try:
            async with asyncio.timeout(SEND_TIMEOUT.total_seconds()):
                await self._mail.send(await self._write(claimed, known))
        except TimeoutError:
            raise MailUnavailable(f"no end within {SEND_TIMEOUT.seconds} s") from None

    async def _write(self, claimed: Notification, known: dict[str, Any]) -> EmailMessage:
        sender = self._mail.sender
        variables = known | {"shop": sender.display_name or sender.domain, "key": claimed.key}
        letter = render(claimed.kind, variables, await facts.images(claimed.kind, known))
        headers = {"message_id": claimed.message_id, "kind": claimed.kind, "key": claimed.key}
        return compose(letter, sender, claimed.recipient, **headers)

    async def _post(self, claimed: Notification) -> None:
        if self._webhook is None:
            raise AlertUnavailable("no webhook is set any more")
        await self._webhook.post(claimed.data)
