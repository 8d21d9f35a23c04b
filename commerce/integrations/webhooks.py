"""Webhooks: posts an event to a receiver as CloudEvents JSON, signed as Standard Webhooks wants it."""

import asyncio
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

import httpx
from cloudevents.core.bindings.http import to_structured_event
from cloudevents.core.v1.event import CloudEvent
from standardwebhooks import Webhook

from commerce.errors import WebhookUnavailable
from commerce.integrations.retry_after import retry_after
from commerce.webhooks import WebhookMessage

TIMEOUT = 10  # seconds for the whole call
SILENCE = 30  # seconds that a receiver which let us wait in vain is left in peace, so that it cannot keep a worker busy
LONGEST_WAIT = timedelta(hours=12)  # however long a receiver asks us to wait


class WebhookPoster:
    """Posts events; `source` and `prefix` are theirs as CloudEvents, `timeout` and `silence` are seconds."""

    def __init__(
        self,
        *,
        source: str,
        prefix: str,
        transport: httpx.AsyncBaseTransport,
        timeout: float = TIMEOUT,
        silence: float = SILENCE,
    ) -> None:
        self._source = source
        self._prefix = prefix
        self._client = httpx.AsyncClient(timeout=timeout, transport=transport, trust_env=False)
        self._timeout = timeout
        self._silence = silence
        self._silent: dict[str, float] = {}  # by URL until when

    async def post(self, message: WebhookMessage) -> Literal["delivered", "gone"]:
        """Post an event; `gone` if the receiver wants no more. No redirect is followed, no answer's body read.

        Raises WebhookUnavailable for every other answer than a 2xx and for none, WebhookForbidden.
        """
        self._leave_in_peace(message.url)
        headers, body = self._as_request(message)
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.stream("POST", message.url, headers=headers, content=body) as answer,
            ):
                self._silent.pop(message.url, None)
                return _outcome(answer)
        except (TimeoutError, httpx.TimeoutException):
            self._silent[message.url] = time.monotonic() + self._silence
            raise WebhookUnavailable(f"no answer within {self._timeout} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise WebhookUnavailable(type(error).__name__) from None

    async def close(self) -> None:
        """Close what connections are open."""
        await self._client.aclose()

    def _leave_in_peace(self, url: str) -> None:
        """Refuse to post where nobody answered a moment ago; afterwards one may try for all."""
        if (until := self._silent.get(url)) is None:
            return
        if until > time.monotonic():
            raise WebhookUnavailable("no answer a moment ago")
        self._silent[url] = time.monotonic() + self._silence

    def _as_request(self, message: WebhookMessage) -> tuple[Mapping[str, str], bytes]:
        attributes = {
            "id": str(message.event_id),
            "source": self._source,
            "type": self._prefix + message.type,
            "time": message.created_at.astimezone(UTC),
            "subject": message.aggregate,
            "datacontenttype": "application/json",
        }
        if message.traceparent:
            attributes["traceparent"] = message.traceparent  # CloudEvents' extension for distributed tracing
        event = to_structured_event(CloudEvent(attributes, message.data))
        now, event_id = datetime.now(UTC), str(message.event_id)
        signature = {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(message.secret).sign(event_id, now, event.body.decode()),
        }
        return event.headers | signature, event.body


def _outcome(answer: httpx.Response) -> Literal["delivered", "gone"]:
    if answer.status_code == httpx.codes.GONE:
        return "gone"
    if not answer.is_success:
        wait = retry_after(answer.headers.get("Retry-After", ""))
        raise WebhookUnavailable(f"HTTP {answer.status_code}", min(wait, LONGEST_WAIT.total_seconds()))
    return "delivered"
