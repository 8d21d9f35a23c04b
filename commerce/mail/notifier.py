"""Send queued notifications: mails by SMTP, alerts also by webhook, each once per key (N1)."""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from email.message import EmailMessage
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications
from commerce.answer_links import AnswerLinks
from commerce.database import Database
from commerce.errors import (
    AlertUnavailable,
    DatabaseUnavailable,
    MailServerDown,
    MailUnavailable,
    PermanentError,
    SettingsError,
    StepInProgress,
    TransientError,
)
from commerce.integrations.alerts import AlertWebhook
from commerce.mail.render import MailTemplates
from commerce.mail.smtp import MailServer, build_message
from commerce.mail.template_data import load_template_data
from commerce.messages.notifications import Alert, SendOutcome
from commerce.messages.waits import AnswerKind
from commerce.notifications import OUTAGE, RECOVERY, Notification
from commerce.settings import Settings

LEASE = timedelta(seconds=13)  # longer than SEND_TIMEOUT, shorter than the start-to-close timeout of its step
GRACE = timedelta(minutes=1)  # a run has sent its notification by then, unless something is wrong
GIVE_UP = timedelta(days=4)  # as mail servers do
LEFT_BEHIND_BATCH = 5  # few, because a slow mail server holds up what else waits in the background
OUTAGE_TIMEOUT = 4  # seconds to send the alert about an outage, in addition to the attempt that noticed it
WEBHOOK = "webhook"  # the recipient of an alert's second notification
LOCALE = "en_GB"
LINKED_ANSWERS: Sequence[AnswerKind] = ("success", "failure")


class Notifier:
    """Sends notifications. It makes one attempt per call; its callers retry.

    `admins`: the addresses that alerts are mailed to; `webhook`: where alerts are posted; `locale`: the English locale
    of amounts and dates in mails; `links`: makes the links with which an admin answers a step; `console`: the URL of
    the console, to whose pages alerts lead.
    """

    def __init__(
        self,
        database: Database,
        mail_server: MailServer,
        *,
        admins: Sequence[str] = (),
        webhook: AlertWebhook | None = None,
        locale: str = LOCALE,
        links: AnswerLinks | None = None,
        console: str | None = None,
    ) -> None:
        self._database = database
        self._mail_server = mail_server
        self._admins = ", ".join(admins)
        self._webhook = webhook
        self._templates = MailTemplates(locale)
        self._links = links
        self._console = console

    @classmethod
    def of(cls, settings: Settings, database: Database, webhook: AlertWebhook | None) -> "Notifier":
        """Return what sends the notifications of the settings' shop. Raises SettingsError."""
        try:
            mail_server = MailServer(settings.smtp_url, settings.mail_from)
        except ValueError as error:
            raise SettingsError(f"COMMERCE_SMTP_URL or COMMERCE_MAIL_FROM: {error}") from None
        return cls(
            database,
            mail_server,
            admins=settings.admin_emails,
            webhook=webhook,
            locale=settings.locale,
            links=settings.answer_links,
            console=settings.console_url,
        )

    async def send(self, key: str) -> SendOutcome:
        """Send a notification unless it has been sent; `skipped` if none has this key (V9).

        Raises MailRefused after marking the notification as failed. Raises MailUnavailable, AlertUnavailable,
        StepInProgress or DatabaseUnavailable if a retry can help.
        """
        async with self._database.transaction() as tx:
            claimed = await notifications.claim(tx, key, lease=LEASE, domain=self._mail_server.sender.domain)
            if isinstance(claimed, SendOutcome):
                return claimed
            data = await load_template_data(tx, claimed.kind, claimed.order_id, claimed.data)
        await self._send_claimed(claimed, data)
        return SendOutcome(status="sent")

    async def mark_failed(self, key: str, error: str) -> None:
        """Mark a notification as failed; `error` must not contain personal data."""
        async with self._database.transaction() as tx:
            await notifications.mark_failed(tx, key, error)

    async def alert(self, alert: Alert) -> SendOutcome:
        """Alert the admins by mail and by webhook, where configured, each once per key; always tries both.

        Raises what `send` raises; if both fail, rather an error that a retry can fix.
        """
        keys = await self._queue_alert(alert)
        outcomes = await asyncio.gather(*(self.send(key) for key in keys), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, PermanentError))
        return SendOutcome(status="sent" if keys else "skipped")

    async def alert_or_hand_over(self, alert: Alert) -> bool:
        """Try once to alert the admins, and return whether that worked; if not, `send_left_behind` does it later.

        Raises DatabaseUnavailable.
        """
        try:
            await self.alert(alert)
        except (PermanentError, MailUnavailable, AlertUnavailable, StepInProgress):
            return False
        return True

    async def send_left_behind(self, grace: timedelta = GRACE) -> None:
        """Send a few notifications that no run sends any more; call this again and again (N1).

        One that is refused temporarily is tried again later and later, for four days. Raises MailServerDown, because
        all other mails would fail alike, and DatabaseUnavailable.
        """
        async with self._database.transaction() as tx:
            await notifications.expire(tx, GIVE_UP)
            keys = await notifications.left_behind(tx, grace=grace, limit=LEFT_BEHIND_BATCH)
        for key in keys:
            try:
                await self.send(key)
            except (MailServerDown, DatabaseUnavailable):
                raise
            except (PermanentError, StepInProgress):
                continue  # marked as failed, or another worker is sending it
            except Exception as error:
                async with self._database.transaction() as tx:
                    await notifications.postpone(tx, key)
                if not isinstance(error, TransientError):
                    raise

    async def report_outage(self, service: str, error: str) -> None:
        """Alert the admins that a service is down, once per outage and at most once per hour.

        While the mail server is down, only the webhook can be called; the mail follows when it works again. Raises
        DatabaseUnavailable, and TimeoutError if the alert is not sent in time; reporting the outage again continues.
        """
        prefix = _outage_prefix(OUTAGE, service)
        async with asyncio.timeout(OUTAGE_TIMEOUT):
            async with self._database.transaction() as tx:
                latest = await notifications.latest_outage(tx, prefix)
                if latest and latest.over and latest.recent:
                    return
                key = latest.key if latest and not latest.over else f"{prefix}{uuid4()}"
                message = f"The {service} is down. Steps that need it wait and continue when it works again"
                alert = Alert(kind=OUTAGE, key=key, message=message, error=error)
                keys = await self._queue_in(tx, alert)
            await self._try_to_send([key for key in keys if service != MailServerDown.service or key != alert.key])

    async def report_recovery(self, service: str) -> None:
        """Notify the admins that a service works again, if they were alerted that it was down; raises as above."""
        prefix = _outage_prefix(OUTAGE, service)
        async with asyncio.timeout(OUTAGE_TIMEOUT):
            async with self._database.transaction() as tx:
                latest = await notifications.latest_outage(tx, prefix)
                if latest is None or latest.over:
                    return
                key = _outage_prefix(RECOVERY, service) + latest.key.removeprefix(prefix)
                alert = Alert(kind=RECOVERY, key=key, severity="low", message=f"The {service} works again")
                keys = await self._queue_in(tx, alert)
            await self._try_to_send([*self._channels(latest.key), *keys])

    async def _try_to_send(self, keys: Sequence[str]) -> None:
        for key in keys:
            with suppress(PermanentError, MailUnavailable, AlertUnavailable, StepInProgress):
                await self.send(key)

    def _channels(self, key: str) -> dict[str, str]:
        """Return the recipient by key of an alert's notifications, the mail first."""
        channels = {key: self._admins, f"{key}/webhook": WEBHOOK if self._webhook else ""}
        return {key: recipient for key, recipient in channels.items() if recipient}

    async def _queue_alert(self, alert: Alert) -> list[str]:
        async with self._database.transaction() as tx:
            return await self._queue_in(tx, alert)

    async def _queue_in(self, tx: AsyncSession, alert: Alert) -> list[str]:
        """Queue an alert for each configured channel, and return the keys of its notifications.

        Its kind is kebab-case as a kind of mail and snake_case as the type in a webhook.
        """
        channels = self._channels(alert.key)
        kind = alert.kind.replace("_", "-")
        data = alert.model_dump(exclude_none=True, exclude={"kind"}) | {"type": alert.kind.replace("-", "_")}
        for key, recipient in channels.items():
            await notifications.queue(tx, key=key, kind=kind, recipient=recipient, order_id=alert.order_id, data=data)
        return list(channels)

    async def _send_claimed(self, claimed: Notification, data: dict[str, Any]) -> None:
        """Send a claimed notification, and record how that ended."""
        try:
            if claimed.recipient == WEBHOOK:
                await self._post(claimed, data)
            else:
                await self._mail(claimed, data)
        except PermanentError as error:
            await self.mark_failed(claimed.key, str(error))
            raise
        except BaseException:
            async with self._database.transaction() as tx:
                await notifications.release(tx, claimed)
            raise
        async with self._database.transaction() as tx:
            await notifications.mark_sent(tx, claimed.key)

    async def _mail(self, claimed: Notification, data: dict[str, Any]) -> None:
        await self._mail_server.send(self._build(claimed, data))

    def _build(self, claimed: Notification, data: dict[str, Any]) -> EmailMessage:
        sender = self._mail_server.sender
        variables = data | {"shop": sender.display_name or sender.domain, "key": claimed.key, "links": None}
        if self._links and "wait_id" in data:  # made for the mail alone: neither stored nor posted to the webhook
            variables["links"] = {
                answer: self._links.make(data["wait_id"], answer, data["until"]) for answer in LINKED_ANSWERS
            }
        if self._console:
            variables["console"] = self._console + page_of(data)
        mail = self._templates.render(claimed.kind, variables)
        headers = {"message_id": claimed.message_id, "kind": claimed.kind, "key": claimed.key}
        return build_message(mail, sender, claimed.recipient, **headers)

    async def _post(self, claimed: Notification, data: dict[str, Any]) -> None:
        if self._webhook is None:
            raise AlertUnavailable("the webhook is no longer configured")
        alert = {name: value for name, value in claimed.data.items() if name != "wait_id"}
        if "number" in data:
            alert["order_number"] = data["number"]
        if self._console:
            alert["console_url"] = self._console + page_of(data)
        await self._webhook.post(alert)


def page_of(data: Mapping[str, Any]) -> str:
    """Return the path of the page of the console, below its own, that shows what an alert with this data is about."""
    if order_id := data.get("order_id"):
        return f"/orders/{quote(str(order_id), safe='~')}"
    return "/jobs" if data.get("job_name") else "/"


def _outage_prefix(kind: str, service: str) -> str:
    """Return what the keys of a service's outages start with."""
    return f"{kind}/{service.replace(' ', '-')}/"
