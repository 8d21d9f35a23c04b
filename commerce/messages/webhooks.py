"""Webhook endpoints, and input and result of `deliver-webhook`."""

from datetime import datetime
from typing import Literal
from uuid import UUID

from commerce.messages.base import Message, ProcessInput


class Endpoint(Message):
    """A webhook endpoint: a URL that gets events of these types (`*`: all), unless it is disabled."""

    id: UUID
    url: str
    event_types: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None = None


class NewEndpoint(Endpoint):
    """A new endpoint with its secret, which is shown only once."""

    secret: str


class TestResult(Message):
    """What an endpoint has answered to a test event.

    `gone`: it wants no more events (410). `failed`: `error` says why; unlike other events it is not sent again.
    """

    event_id: UUID
    status: Literal["delivered", "gone", "failed"]
    error: str | None = None


class WebhookDelivery(ProcessInput):
    """The input of `deliver-webhook`; `after` is the event of the same aggregate that the endpoint gets before."""

    endpoint_id: UUID
    event_id: UUID
    after: UUID | None = None

    @property
    def process_id(self) -> str:
        """The id of this delivery's process."""
        return f"deliver-webhook-{self.endpoint_id}-{self.event_id}"

    @property
    def previous_process_id(self) -> str | None:
        """The id of the process that delivers the event before this one."""
        return f"deliver-webhook-{self.endpoint_id}-{self.after}" if self.after else None


class Delivered(Message):
    """How a delivery ended; `gone`: the receiver answered 410; `disabled`, `removed`: there was no request."""

    status: Literal["delivered", "gone", "disabled", "removed"]

    def summary(self) -> str:
        """Return how the delivery ended."""
        return self.status
