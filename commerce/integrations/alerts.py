"""The alert webhook: posts an alert as JSON to a URL of the shop's own choice."""

import asyncio
from typing import Any

import httpx

from commerce.errors import AlertUnavailable

TIMEOUT = 8  # seconds for the whole call


class AlertWebhook:
    """Somebody outside who is told of alerts; `transport` stands in for the network in tests."""

    def __init__(self, url: str, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url
        self._client = httpx.AsyncClient(timeout=TIMEOUT, transport=transport)

    async def post(self, alert: dict[str, Any]) -> None:
        """Post an alert; raises AlertUnavailable unless the answer is a 2xx."""
        try:
            async with asyncio.timeout(TIMEOUT):
                answer = await self._client.post(self._url, json=alert)
        except (httpx.HTTPError, TimeoutError) as error:
            raise AlertUnavailable(type(error).__name__) from None
        if not answer.is_success:
            raise AlertUnavailable(f"HTTP {answer.status_code}")

    async def close(self) -> None:
        """Close what connections are open."""
        await self._client.aclose()
