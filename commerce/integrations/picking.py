"""Picks at the warehouse: ask it to pick goods, and withdraw that. It answers later, by a signed request of its own.

Both calls can be repeated: a pick is identified by its id. Errors name a status or a kind of error, never content.
"""

from collections.abc import Mapping
from typing import Any

import httpx

from commerce.errors import WarehouseDown, WarehouseRefused, WarehouseUnavailable
from commerce.integrations import capped_http
from commerce.integrations.capped_http import Response, TooLarge
from commerce.integrations.tls import tls_context
from commerce.picks import Pick

CALL_TIMEOUT = 5  # seconds for one request; a step makes one per location
DOWN = {401, 403, 429, 502, 503, 504}  # about all picks alike; any other 5xx, and these, may work a moment later:
RETRYABLE = {408, 425}
MAX_BYTES = 64 * 1024  # of a response, which is not read


class Picking:
    """The part about picks of the warehouse's API at the root `url`; it answers to `answer_url`.

    Methods raise WarehouseDown for what would stop every pick alike.
    """

    def __init__(
        self,
        url: str,
        answer_url: str,
        *,
        timeout: float = CALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._answer_url = answer_url
        self._client = httpx.AsyncClient(base_url=url, timeout=timeout, transport=transport, verify=tls_context())

    async def request(self, pick: Pick) -> None:
        """Ask for a pick, once per id. Raises WarehouseUnavailable or WarehouseRefused."""
        lines = [line.model_dump() for line in pick.lines]
        body = {"id": pick.id, "order": pick.order_id, "location": pick.location_id, "lines": lines}
        response = await self._send("/picks", body | {"answer_url": self._answer_url})
        if not response.is_success:
            raise WarehouseRefused(response.status)

    async def cancel(self, pick_id: str) -> bool:
        """Withdraw a pick, answered or not; its goods go back. Return False if the warehouse does not know it.

        Raises WarehouseUnavailable or WarehouseRefused.
        """
        response = await self._send(f"/picks/{pick_id}/cancel", {})
        if response.status == httpx.codes.NOT_FOUND:
            return False
        if not response.is_success:
            raise WarehouseRefused(response.status)
        return True

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    async def _send(self, path: str, body: Mapping[str, Any]) -> Response:
        try:
            response = await capped_http.send(self._client, "POST", path, max_bytes=MAX_BYTES, json=dict(body))
        except TooLarge:
            raise WarehouseUnavailable("the response is too large") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, OSError) as error:
            raise WarehouseDown(type(error).__name__) from None
        except httpx.HTTPError as error:
            raise WarehouseUnavailable(type(error).__name__) from None
        if response.status in DOWN:
            raise WarehouseDown(f"HTTP {response.status}")
        if response.status in RETRYABLE or response.status >= httpx.codes.INTERNAL_SERVER_ERROR:
            raise WarehouseUnavailable(f"HTTP {response.status}")
        return response
