"""Webhooks: post events as CloudEvents JSON, signed as Standard Webhooks defines (N5)."""

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
from commerce.integrations import capped_http
from commerce.integrations.public_transport import PublicTransport
from commerce.integrations.retry_after import parse_retry_after
from commerce.settings import Settings
from commerce.webhooks import WebhookMessage

TIMEOUT = 10  # seconds for the whole call
QUIET_PERIOD = 30  # seconds without requests after a receiver did not respond, so that it cannot occupy the worker
MAX_WAIT = timedelta(hours=12)  # the longest Retry-After that is respected


class WebhookPoster:
    """Posts events with this CloudEvents `source` and prefix of `type`; `timeout` and `quiet_period` are in seconds."""

    def __init__(
        self,
        *,
        source: str,
        prefix: str,
        transport: httpx.AsyncBaseTransport,
        timeout: float = TIMEOUT,
        quiet_period: float = QUIET_PERIOD,
    ) -> None:
        self._source = source
        self._prefix = prefix
        self._client = httpx.AsyncClient(timeout=timeout, transport=transport, trust_env=False)
        self._timeout = timeout
        self._quiet_period = quiet_period
        self._quiet_until: dict[str, float] = {}  # by URL, on the monotonic clock

    @classmethod
    def of(cls, settings: Settings) -> "WebhookPoster":
        """Return what posts the events of the settings' shop."""
        transport = PublicTransport(private=settings.webhook_private == "allow")
        return cls(source=settings.event_source, prefix=settings.event_prefix, transport=transport)

    async def post(self, message: WebhookMessage) -> Literal["delivered", "gone"]:
        """Post an event. Return `gone` if the receiver wants no more events (410).

        Redirects are not followed, and response bodies are not read. Raises WebhookUnavailable if there is no response
        or another one than a 2xx, and WebhookForbidden.
        """
        self._raise_if_quiet(message.url)
        headers, body = self._as_request(message)
        try:
            async with (
                asyncio.timeout(self._timeout),
                capped_http.unread(self._client, "POST", message.url, headers=headers, content=body) as response,
            ):
                self._quiet_until.pop(message.url, None)
                return _outcome(response)
        except (TimeoutError, httpx.TimeoutException):
            self._quiet_until[message.url] = time.monotonic() + self._quiet_period
            raise WebhookUnavailable(f"no response within {self._timeout} s") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError, UnicodeError) as error:
            raise WebhookUnavailable(type(error).__name__) from None

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    def _raise_if_quiet(self, url: str) -> None:
        """Raise WebhookUnavailable during a quiet period. After it, one delivery tries while the others still wait."""
        if (until := self._quiet_until.get(url)) is None:
            return
        if until > time.monotonic():
            raise WebhookUnavailable(f"no response to a request in the last {self._quiet_period} s")
        self._quiet_until[url] = time.monotonic() + self._quiet_period

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
            attributes["traceparent"] = message.traceparent  # CloudEvents extension for distributed tracing
        event = to_structured_event(CloudEvent(attributes, message.data))
        now, event_id = datetime.now(UTC), str(message.event_id)
        signature = {
            "webhook-id": event_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": Webhook(message.secret).sign(event_id, now, event.body.decode()),
        }
        return event.headers | signature, event.body


def _outcome(response: httpx.Response) -> Literal["delivered", "gone"]:
    if response.status_code == httpx.codes.GONE:
        return "gone"
    if not response.is_success:
        wait = parse_retry_after(response.headers.get("Retry-After", ""))
        raise WebhookUnavailable(f"HTTP {response.status_code}", min(wait, MAX_WAIT.total_seconds()))
    return "delivered"
