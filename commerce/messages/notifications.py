"""Mails and alerts, and the outcome of sending them."""

from typing import Literal

from commerce.messages.base import Message


class Alert(Message):
    """A message to the admins, sent once per key. `wait_id`: the wait that its mail has links to answer."""

    kind: str
    key: str
    severity: Literal["low", "medium", "high"] = "high"
    message: str
    order_id: str | None = None
    job_name: str | None = None
    error: str | None = None
    wait_id: str | None = None


class NotificationRef(Message):
    """The key of a notification."""

    key: str


class FailedNotification(NotificationRef):
    """A notification to mark as failed; `error` is an error class, never text from outside.

    `alert`: the alert that could not be sent. It may not even be queued yet, so it is queued and tried
    once more; after that, workers send it later.
    """

    error: str
    alert: Alert | None = None


class SendOutcome(Message):
    """The outcome of a notification: sent, or skipped because there is no such notification or no recipient."""

    status: Literal["sent", "skipped"]

    def summary(self) -> str:
        """Return the outcome."""
        return self.status
