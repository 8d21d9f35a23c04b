"""Steps that notify customers and admins."""

from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce.errors import MailServerDown
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.notifications import Alert, FailedNotification, NotificationRef, SendOutcome
from commerce.messages.steps import Call
from commerce.telemetry.metrics import MAILS


class NotificationActivities:
    """Send queued notifications once per key, and mark those that cannot be sent as failed."""

    def __init__(self, notifier: Notifier, outages: OutageAlerts) -> None:
        self._notifier = notifier
        self._outages = outages

    @activity.defn(name="send-notification")
    async def send(self, call: Call[NotificationRef]) -> SendOutcome:
        """Send the mail that the final step queued."""
        return await self._deliver(call.input.key)

    @activity.defn(name="send-welcome-email")
    async def send_welcome(self, call: Call[NotificationRef]) -> SendOutcome:
        """Send the welcome mail that the registration queued."""
        return await self._deliver(call.input.key)

    @activity.defn(name="fail-notification")
    async def fail(self, call: Call[FailedNotification]) -> Nothing:
        """Mark a notification as failed; try an alert once more instead, and leave it to the workers otherwise (N1)."""
        if call.input.alert:
            if await self._notifier.alert_or_hand_over(call.input.alert):
                _count(call.input.alert.kind, "sent")
        else:
            await self._notifier.mark_failed(call.input.key, call.input.error)
            _count(_kind(call.input.key), "failed")
        return Nothing()

    @activity.defn(name="alert-admins")
    async def alert(self, call: Call[Alert]) -> SendOutcome:
        """Alert the admins by mail and by webhook, where configured."""
        async with self._outages.watch(MailServerDown.service):
            sent = await self._notifier.alert(call.input)
        _count(call.input.kind, sent.status)
        return sent

    async def _deliver(self, key: str) -> SendOutcome:
        async with self._outages.watch(MailServerDown.service):
            sent = await self._notifier.send(key)
        _count(_kind(key), sent.status)
        return sent


def _kind(key: str) -> str:
    """Return the kind of a mail: the first part of its key."""
    return key.partition("/")[0]


def _count(kind: str, status: str) -> None:
    activity.metric_meter().create_counter(MAILS.name, MAILS.help).add(1, {"kind": kind, "status": status})
