"""EasyPost as a carrier: the part of its shipments API that a shipping label needs.

The API has no idempotency keys. Each `create` makes another shipment, which costs nothing, and `buy` charges once per
shipment. Its error messages and our requests contain addresses, so only its error codes leave this module.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict
from decimal import Decimal
from typing import Annotated, Any, Literal

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from commerce.errors import CarrierDown, CarrierRefused, CarrierUnavailable
from commerce.integrations import capped_http
from commerce.integrations.capped_http import Response, TooLarge
from commerce.integrations.carrier import LabelState, Parcel, error_of
from commerce.integrations.tls import tls_context
from commerce.messages.orders import Label
from commerce.shipments import Address, Shipment

CALL_TIMEOUT = 10  # seconds for one method, with all its requests
CONNECT_TIMEOUT = 4  # seconds
CODE = re.compile(r"[A-Za-z0-9_.]{1,100}")
ALREADY_BOUGHT = "SHIPMENT.POSTAGE.EXISTS"
# The purchase may still succeed; another request shows whether it did.
UNDECIDED = {"SHIPMENT.PURCHASE.IN_PROGRESS", "SHIPMENT.POSTAGE.NO_RESPONSE", "SHIPMENT.POSTAGE.TIMED_OUT"}
REFUNDED = {"submitted", "refunded", "not_applicable"}
REFUNDS: Mapping[str, Literal["requested", "made", "refused"]] = {
    "submitted": "requested",
    "refunded": "made",
    "not_applicable": "made",
    "rejected": "refused",
}
NOT_HANDED_OVER = {"pre_transit", "cancelled"}  # statuses of trackers
NOT_KNOWN = {"unknown", "error"}
ALREADY_REFUNDED = re.compile(r"ALREADY_?REFUNDED|REFUND\w*\.(ALREADY\w*|EXISTS|REQUESTED|SUBMITTED)|REFUND_EXISTS")


class _Response(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _Rate(_Response):
    id: str
    rate: Decimal


class _SelectedRate(_Response):
    carrier: Annotated[str, Field(max_length=100)] | None = None


class _PostageLabel(_Response):
    label_url: str


class _Tracker(_Response):
    status: str


class _Shipment(_Response):
    id: Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]  # is put into a path
    rates: list[_Rate] = []
    tracking_code: str | None = None
    postage_label: _PostageLabel | None = None
    selected_rate: _SelectedRate | None = None
    refund_status: str | None = None
    tracker: _Tracker | None = None


class _Error(_Response):
    code: str


class _ErrorBody(_Response):
    error: _Error


class EasyPost:
    """An EasyPost account, or any carrier with the same API.

    `url` is the root of the API, `timeout` limits each method, in seconds. `transport` replaces the network in tests.
    """

    def __init__(
        self,
        url: str,
        api_key: SecretStr,
        sender: Address,
        parcel: Parcel,
        *,
        timeout: float = CALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=url,
            auth=(api_key.get_secret_value(), ""),
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
            transport=transport,
            verify=tls_context(),
        )
        self._timeout = timeout
        self._sender = sender
        self._parcel = parcel

    async def create(self, shipment: Shipment, reference: str) -> str:
        """Create another shipment and return its id."""
        body: dict[str, Any] = {
            "reference": reference,
            "to_address": _without_blanks(asdict(shipment.recipient)),
            "from_address": _without_blanks(asdict(shipment.sender_or(self._sender))),
            "parcel": asdict(self._parcel),
            "options": _without_blanks({"invoice_number": shipment.number, "currency": shipment.currency}),
        }
        if shipment.is_return:  # EasyPost exchanges the addresses
            body["is_return"] = True
        async with _limit(self._timeout):
            return (await self._request("POST", "/shipments", {"shipment": body})).id

    async def buy(self, shipment_id: str) -> Label:
        """Buy the cheapest label of a shipment, or return the label that was bought before."""
        async with _limit(self._timeout):
            shipment = await self._request("GET", f"/shipments/{shipment_id}")
            if shipment.refund_status in REFUNDED:
                raise CarrierRefused("SHIPMENT.REFUNDED", httpx.codes.OK)
            if shipment.postage_label is None:
                shipment = await self._buy(shipment)
            return _label(shipment)

    async def refund(self, shipment_id: str) -> bool:
        """Request the refund of a label, unless that was done before; return False if there is no label (yet)."""
        async with _limit(self._timeout):
            try:
                shipment = await self._request("GET", f"/shipments/{shipment_id}")
            except CarrierRefused as refused:
                if refused.status == httpx.codes.NOT_FOUND:
                    return False
                raise
            if shipment.postage_label is None:
                return False
            return shipment.refund_status in REFUNDED or await self._refund(shipment_id)

    async def look_up(self, shipment_id: str) -> LabelState | None:
        """Return the status of the shipment's tracker, and that of its refund."""
        async with _limit(self._timeout):
            try:
                shipment = await self._request("GET", f"/shipments/{shipment_id}")
            except CarrierRefused as refused:
                if refused.status == httpx.codes.NOT_FOUND:
                    return None
                raise
        if shipment.postage_label is None:
            return None
        status = shipment.tracker.status if shipment.tracker else "unknown"
        handed_over = None if status in NOT_KNOWN else status not in NOT_HANDED_OVER
        return LabelState(handed_over, REFUNDS.get(shipment.refund_status or "", "none"))

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    async def _buy(self, shipment: _Shipment) -> _Shipment:
        if not shipment.rates:
            raise CarrierRefused("NO_RATES", httpx.codes.OK)
        cheapest = min(shipment.rates, key=lambda rate: rate.rate)
        try:
            return await self._request("POST", f"/shipments/{shipment.id}/buy", {"rate": {"id": cheapest.id}})
        except CarrierRefused as refused:
            if refused.code != ALREADY_BOUGHT:
                raise
            return await self._request("GET", f"/shipments/{shipment.id}")

    async def _refund(self, shipment_id: str) -> bool:
        try:
            shipment = await self._request("POST", f"/shipments/{shipment_id}/refund")
        except CarrierRefused as refused:
            if ALREADY_REFUNDED.search(refused.code):
                return True
            # Another attempt may have refunded the label a moment ago. The shipment shows it, the code may not.
            shipment = await self._request("GET", f"/shipments/{shipment_id}")
            if shipment.refund_status not in REFUNDED:
                raise
        if shipment.refund_status not in REFUNDED:
            raise CarrierRefused("SHIPMENT.REFUND.REJECTED", httpx.codes.OK)
        return True

    async def _request(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Shipment:
        try:
            response = await capped_http.send(self._client, method, path, json=body)
        except TooLarge:
            raise CarrierUnavailable("the response is too large") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, OSError) as error:
            raise CarrierDown(type(error).__name__) from None
        except httpx.HTTPError as error:
            raise CarrierUnavailable(type(error).__name__) from None
        if not response.is_success:
            raise _error(response)
        try:
            return _Shipment.model_validate_json(response.content)
        except ValidationError:
            raise CarrierUnavailable("unreadable response") from None


@asynccontextmanager
async def _limit(timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - it limits a block, not a call
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        raise CarrierUnavailable(f"no response within {timeout} s") from None


def _error(response: Response) -> CarrierRefused | CarrierUnavailable:
    try:
        code = _ErrorBody.model_validate_json(response.content).error.code
    except ValidationError:
        code = "UNKNOWN"
    if code in UNDECIDED:
        return CarrierUnavailable(code)
    return error_of(response.status, code if CODE.fullmatch(code) else "UNKNOWN")


def _without_blanks(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _label(shipment: _Shipment) -> Label:
    """Return the bought label; raises CarrierUnavailable if it has no tracking number yet."""
    if shipment.postage_label is None or shipment.tracking_code is None:
        raise CarrierUnavailable("no label in the response")
    return Label(
        shipment_id=shipment.id,
        tracking_number=shipment.tracking_code,
        carrier=shipment.selected_rate and shipment.selected_rate.carrier,
        label_url=shipment.postage_label.label_url,
    )
