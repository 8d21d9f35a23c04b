"""The carrier: EasyPost's shipments API, as far as a shipping label needs it.

The API knows no idempotency: each `create` makes another shipment, which costs nothing; `buy` costs, once per shipment.
Its errors' texts and our requests hold addresses, so only its error codes ever leave this module.
"""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from commerce.errors import CarrierRefused, CarrierUnavailable
from commerce.fulfillment import Shipment
from commerce.messages.orders import Label

CALL_TIMEOUT = 10  # seconds for one method, with all its requests
CODE = re.compile(r"[A-Za-z0-9_.]{1,100}")
BOUGHT_ALREADY = "SHIPMENT.POSTAGE.EXISTS"
# Nobody knows yet how these end: asking again later tells.
UNDECIDED = {"SHIPMENT.PURCHASE.IN_PROGRESS", "SHIPMENT.POSTAGE.NO_RESPONSE", "SHIPMENT.POSTAGE.TIMED_OUT"}
RETRYABLE = {408, 425, 429}
REFUNDED = {"submitted", "refunded", "not_applicable"}


@dataclass(frozen=True)
class Address:
    """Where parcels come from."""

    name: str
    street1: str
    city: str
    zip: str
    state: str
    country: str
    phone: str


@dataclass(frozen=True)
class Parcel:
    """What is sent: inches and ounces."""

    length: float
    width: float
    height: float
    weight: float


class _Answer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


class _Rate(_Answer):
    id: str
    rate: Decimal


class _PostageLabel(_Answer):
    label_url: str


class _Shipment(_Answer):
    id: Annotated[str, Field(pattern=r"^[\w-]{1,100}$")]  # becomes part of a path
    rates: list[_Rate] = []
    tracking_code: str | None = None
    postage_label: _PostageLabel | None = None
    refund_status: str | None = None


class _Error(_Answer):
    code: str


class _ErrorBody(_Answer):
    error: _Error


class Carrier:
    """One account with the carrier; `url` is the API's root, `timeout` bounds each method, in seconds.

    `transport` stands in for the network in tests.
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
            base_url=url, auth=(api_key.get_secret_value(), ""), timeout=timeout, transport=transport
        )
        self._timeout = timeout
        self._sender = sender
        self._parcel = parcel

    async def create(self, shipment: Shipment, reference: str) -> str:
        """Register a shipment and return the carrier's id of it; nothing is bought yet.

        Raises CarrierRefused, CarrierUnavailable; so do the other methods.
        """
        order = {
            "reference": reference,
            "to_address": _address(shipment),
            "from_address": _filled(asdict(self._sender)),
            "parcel": asdict(self._parcel),
            "options": _filled({"invoice_number": shipment.order_id, "currency": shipment.currency}),
        }
        async with _in_time(self._timeout):
            return (await self._ask("POST", "/shipments", {"shipment": order})).id

    async def buy(self, shipment_id: str) -> Label:
        """Buy the cheapest label of a shipment, or return the one that was bought before."""
        async with _in_time(self._timeout):
            shipment = await self._ask("GET", f"/shipments/{shipment_id}")
            if shipment.refund_status in REFUNDED:
                raise CarrierRefused("SHIPMENT.REFUNDED", httpx.codes.OK)
            if shipment.postage_label is None:
                shipment = await self._buy(shipment)
            return _label(shipment)

    async def refund(self, shipment_id: str) -> bool:
        """Give a label back, unless it was given back before; False: there is none, or none yet."""
        async with _in_time(self._timeout):
            try:
                shipment = await self._ask("GET", f"/shipments/{shipment_id}")
            except CarrierRefused as refused:
                if refused.status == httpx.codes.NOT_FOUND:
                    return False
                raise
            if shipment.postage_label is None:
                return False
            if shipment.refund_status not in REFUNDED:
                shipment = await self._ask("POST", f"/shipments/{shipment_id}/refund")
            if shipment.refund_status not in REFUNDED:
                raise CarrierRefused("SHIPMENT.REFUND.REJECTED", httpx.codes.OK)
            return True

    async def close(self) -> None:
        """Close what connections are open."""
        await self._client.aclose()

    async def _buy(self, shipment: _Shipment) -> _Shipment:
        if not shipment.rates:
            raise CarrierRefused("NO_RATES", httpx.codes.OK)
        cheapest = min(shipment.rates, key=lambda rate: rate.rate)
        try:
            return await self._ask("POST", f"/shipments/{shipment.id}/buy", {"rate": {"id": cheapest.id}})
        except CarrierRefused as refused:
            if refused.code != BOUGHT_ALREADY:
                raise
            return await self._ask("GET", f"/shipments/{shipment.id}")

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> _Shipment:
        try:
            answer = await self._client.request(method, path, json=body)
        except (httpx.HTTPError, OSError) as error:
            raise CarrierUnavailable(type(error).__name__) from None
        if not answer.is_success:
            raise _error(answer)
        try:
            return _Shipment.model_validate_json(answer.content)
        except ValidationError:
            raise CarrierUnavailable("unreadable answer") from None


@asynccontextmanager
async def _in_time(timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - a block, not a call, is timed
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        raise CarrierUnavailable(f"no answer within {timeout} s") from None


def _error(answer: httpx.Response) -> CarrierRefused | CarrierUnavailable:
    status = answer.status_code
    if not answer.is_client_error or status in RETRYABLE:
        return CarrierUnavailable(f"HTTP {status}")
    try:
        code = _ErrorBody.model_validate_json(answer.content).error.code
    except ValidationError:
        code = "UNKNOWN"
    if code in UNDECIDED:
        return CarrierUnavailable(code)
    return CarrierRefused(code if CODE.fullmatch(code) else "UNKNOWN", status)


def _address(shipment: Shipment) -> dict[str, str]:
    parts = ("name", "street1", "city", "zip", "state", "country", "phone")
    return _filled({part: getattr(shipment, part) for part in parts})


def _filled(values: dict[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value}


def _label(shipment: _Shipment) -> Label:
    """Return the bought label; a carrier that has not numbered it yet will have when asked again."""
    if shipment.postage_label is None or shipment.tracking_code is None:
        raise CarrierUnavailable("no label in the answer")
    return Label(
        shipment_id=shipment.id,
        tracking_number=shipment.tracking_code,
        label_url=shipment.postage_label.label_url,
    )
