"""Mails, alerts and events as operators see them in lists."""

from typing import Literal

from pydantic import Field

from commerce.messages.base import Message
from commerce.messages.order_views import EventView, MailView

NotificationStatus = Literal["unsent", "queued", "sending", "sent", "failed"]


class NotificationView(MailView):
    """A mail or alert in a list. `recipient` is masked, such as `a…@customer.example`."""

    recipient: str
    order_id: str | None = None


class NotificationPage(Message):
    """A page of mails and alerts, last one first; `next_cursor` requests the next page, None: there is none."""

    notifications: list[NotificationView]
    next_cursor: str | None = None


class ResentNotification(Message):
    """A notification that will be sent again: under its own key, or as a copy if it was sent before."""

    key: str = Field(description="Of the notification that will be sent")


class EventPage(Message):
    """A page of events, last one first; `next_cursor` requests the next page, None: there is none."""

    events: list[EventView]
    next_cursor: str | None = None
