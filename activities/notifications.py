"""Steps that tell customers and admins."""

from temporalio import activity

from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.notifications import Alert, FailedNotification, NotificationRef, Sent
from commerce.messages.steps import Call
from commerce.telemetry.metrics import MAILS


class NotificationActivities:
    """Send what is queued, once per key, and give up what cannot be sent."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier

    @activity.defn(name="send-notification")
    async def send(self, call: Call[NotificationRef]) -> Sent:
        """Send the mail that the final step has queued."""
        return await self._deliver(call.input.key)

    @activity.defn(name="send-welcome-email")
    async def send_welcome(self, call: Call[NotificationRef]) -> Sent:
        """Send the mail that welcomes the customer."""
        return await self._deliver(call.input.key)

    @activity.defn(name="fail-notification")
    async def fail(self, call: Call[FailedNotification]) -> Nothing:
        """Mark a mail that could not be sent."""
        if call.input.alert:
            told = await self._notifier.alert_at_last(call.input.alert)
            _count(call.input.alert.kind, "sent" if told else "failed")
        else:
            await self._notifier.give_up(call.input.key, call.input.error)
            _count(_kind(call.input.key), "failed")
        return Nothing()

    @activity.defn(name="alert-admins")
    async def alert(self, call: Call[Alert]) -> Sent:
        """Tell the admins, by mail and by webhook where one is set."""
        sent = await self._notifier.alert(call.input)
        _count(call.input.kind, sent.status)
        return sent

    async def _deliver(self, key: str) -> Sent:
        sent = await self._notifier.deliver(key)
        _count(_kind(key), sent.status)
        return sent


def _kind(key: str) -> str:
    """Return the kind of a mail, which its key begins with."""
    return key.partition("/")[0]


def _count(kind: str, status: str) -> None:
    activity.metric_meter().create_counter(MAILS.name, MAILS.help).add(1, {"kind": kind, "status": status})
