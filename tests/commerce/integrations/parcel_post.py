"""ParcelPost, an invented carrier: requests for the same reference or consignment have their effect once."""

import asyncio
from dataclasses import asdict
from typing import Any

import httpx

from commerce.errors import CarrierRefused, CarrierUnavailable
from commerce.fulfillment import Shipment
from commerce.integrations.carrier import Parcel
from commerce.messages.orders import Label


class ParcelPost:
    def __init__(
        self, url: str, token: str, parcel: Parcel, *, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"}
        self._client = httpx.AsyncClient(base_url=url, headers=headers, transport=transport)
        self._parcel = parcel

    async def create(self, shipment: Shipment, reference: str) -> str:
        body = {"reference": reference, "to": asdict(shipment.recipient), "ounces": self._parcel.weight}
        return str((await self._request("POST", "/consignments", body))["id"])

    async def buy(self, shipment_id: str) -> Label:
        label = await self._request("PUT", f"/consignments/{shipment_id}/label")
        return Label(shipment_id=shipment_id, tracking_number=label["number"], label_url=label["url"])

    async def refund(self, shipment_id: str) -> bool:
        try:
            await self._request("DELETE", f"/consignments/{shipment_id}/label")
        except CarrierRefused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return False
            raise
        return True

    async def close(self) -> None:
        await self._client.aclose()

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(10):
                response = await self._client.request(method, path, json=body)
        except (httpx.HTTPError, TimeoutError) as error:
            raise CarrierUnavailable(type(error).__name__) from None
        if response.is_client_error and response.status_code != httpx.codes.TOO_MANY_REQUESTS:
            raise CarrierRefused("REFUSED", response.status_code)
        if not response.is_success:
            raise CarrierUnavailable(f"HTTP {response.status_code}")
        return dict(response.json())
