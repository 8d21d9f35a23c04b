"""The alert webhook: post alerts as JSON to the URL in COMMERCE_ALERT_WEBHOOK_URL."""

import asyncio
from typing import Any

import httpx

from commerce.errors import AlertUnavailable
from commerce.integrations.tls import tls_context

TIMEOUT = 8  # seconds for the whole call


class AlertWebhook:
    """Posts alerts to one URL. `transport` replaces the network in tests."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport, verify=tls_context())

    async def post(self, alert: dict[str, Any]) -> None:
        """Post an alert. Raises AlertUnavailable unless the response is a 2xx."""
        try:
            async with asyncio.timeout(TIMEOUT):
                response = await self._client.post(self._url, json=alert)
        except (httpx.HTTPError, TimeoutError) as error:
            raise AlertUnavailable(type(error).__name__) from None
        if not response.is_success:
            raise AlertUnavailable(f"HTTP {response.status_code}")

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()
