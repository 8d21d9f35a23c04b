"""ParcelPost, an invented carrier: requests for the same reference or consignment have their effect once."""

import asyncio
import json
from dataclasses import asdict
from typing import Any

import httpx

from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable
from commerce.integrations import capped_http
from commerce.integrations.carrier import LabelState, Parcel, error_of
from commerce.messages.orders import Label
from commerce.shipments import Shipment


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
        number, url = label["number"], label["url"]
        return Label(shipment_id=shipment_id, tracking_number=number, carrier="Parcel Post", label_url=url)

    async def refund(self, shipment_id: str) -> bool:
        try:
            await self._request("DELETE", f"/consignments/{shipment_id}/label")
        except CarrierRefused as refused:
            if refused.status == httpx.codes.NOT_FOUND:
                return False
            if refused.status != httpx.codes.GONE:  # the label was returned before
                raise
        return True

    async def look_up(self, shipment_id: str) -> LabelState | None:
        consignment = await self._request("GET", f"/consignments/{shipment_id}")
        if "number" not in consignment:
            return None
        returned = consignment["returned"]
        return LabelState(handed_over=consignment["collected"], refund="made" if returned else "none")

    async def close(self) -> None:
        await self._client.aclose()

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            async with asyncio.timeout(10):
                response = await capped_http.send(self._client, method, path, json=body)
        except httpx.ConnectError as error:
            raise CarrierDown(type(error).__name__) from None
        except (httpx.HTTPError, TimeoutError) as error:
            raise CarrierUnavailable(type(error).__name__) from None
        if not response.is_success:
            raise error_of(response.status, "REFUSED")
        return dict(json.loads(response.content))
