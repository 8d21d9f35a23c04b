"""Webhooks: who wants which events, and how one event's delivery to one of them is asked for and ended."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from commerce.messages.base import Message, ProcessInput


class Endpoint(Message):
    """Somebody outside who wants events of these types (`*`: all), unless disabled."""

    id: UUID
    url: str
    event_types: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None = None


class NewEndpoint(Endpoint):
    """An endpoint as it is added: the only time that its secret is told."""

    secret: str


class WebhookDelivery(ProcessInput):
    """The input of `deliver-webhook`; `after`: the event of the same aggregate that the endpoint gets before it."""

    endpoint_id: UUID
    event_id: UUID
    after: UUID | None = None

    @property
    def process_id(self) -> str:
        """The id of this delivery's process."""
        return f"deliver-webhook-{self.endpoint_id}-{self.event_id}"

    @property
    def process_before(self) -> str | None:
        """The id of the process that this one lets go first."""
        return f"deliver-webhook-{self.endpoint_id}-{self.after}" if self.after else None


class Delivered(Message):
    """How a delivery ended; `gone`: the receiver wants no more, `disabled`, `removed`: it did so before."""

    status: Literal["delivered", "gone", "disabled", "removed"]

    def note(self) -> str:
        """Return how it ended."""
        return self.status
