"""Who is told, and how that ended."""

from typing import Literal

from commerce.messages.base import Message


class Alert(Message):
    """What admins are told; the key makes it happen once."""

    kind: str
    key: str
    severity: Literal["low", "medium", "high"] = "high"
    message: str
    order_id: str | None = None
    job_name: str | None = None
    error: str | None = None


class NotificationRef(Message):
    """Which notification."""

    key: str


class FailedNotification(NotificationRef):
    """A notification that is given up, and why: an error's type, no text from outside.

    `alert`: what was to be told; it is written down, and tried once more, however long the database was away.
    """

    error: str
    alert: Alert | None = None


class Sent(Message):
    """How a notification ended: sent, or skipped because there is nobody to tell."""

    status: Literal["sent", "skipped"]

    def note(self) -> str:
        """Return how it ended."""
        return self.status
