"""The alert webhook: post alerts as JSON to the URL in COMMERCE_ALERT_WEBHOOK_URL."""

import asyncio
from typing import Any

import httpx

from commerce.errors import AlertUnavailable
from commerce.integrations import capped_http
from commerce.integrations.tls import tls_context
from commerce.settings import Settings

TIMEOUT = 8  # seconds for the whole call


class AlertWebhook:
    """Posts alerts to one URL. `transport` replaces the network in tests."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport, verify=tls_context())

    @classmethod
    def of(cls, settings: Settings) -> "AlertWebhook | None":
        """Return the webhook of the settings, if there is one."""
        return cls(settings.alert_webhook_url) if settings.alert_webhook_url else None

    async def post(self, alert: dict[str, Any]) -> None:
        """Post an alert. Raises AlertUnavailable unless the response is a 2xx; its body is not read."""
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                capped_http.unread(self._client, "POST", self._url, json=alert) as response,
            ):
                status = response.status_code
        except (httpx.HTTPError, TimeoutError) as error:
            raise AlertUnavailable(type(error).__name__) from None
        if not httpx.codes.is_success(status):
            raise AlertUnavailable(f"HTTP {status}")

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()
