"""Stripe as a payment provider: the part of its API about payment intents and refunds.

A request with an `Idempotency-Key` is carried out once. Stripe stores its response, also a 5xx, and replays it for a
day at least. What became of a request with a 5xx is not known, and its key will never tell. So refunds are listed
before one is made, and a new key is used only after the old one's 5xx was replayed, which shows that the request has
ended, and after the list does not have the refund. Only error codes leave this module.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

from commerce.currencies import decimals_of
from commerce.errors import PaymentRefused, PaymentsDown, PaymentUnavailable
from commerce.integrations import capped_http
from commerce.integrations.capped_http import Response, TooLarge
from commerce.integrations.payment_provider import ProviderRefund
from commerce.integrations.tls import tls_context

API_VERSION = "2024-06-20"
CALL_TIMEOUT = 10  # seconds for one method, with all its requests
CONNECT_TIMEOUT = 4  # seconds
PAYMENT_INTENT = "pi_[A-Za-z0-9]{1,200}"
CODE = re.compile(r"[A-Za-z0-9_.]{1,100}")
MAX_KEYS = 20  # of one effect: how many stored errors are looked through
PAGE = 100  # refunds
MAX_PAGES = 20
REFERENCE = "commerce_reference"  # the name of our metadata
DOWN = {401, 403, 429, 502, 503, 504}  # about our account or Stripe as a whole
BUSY = {408, 409, 424, 425}  # about this request, which may work a moment later; so may any other 5xx
CAPTURABLE, CAPTURED, CANCELLED = "requires_capture", "succeeded", "canceled"
FAILED = ("failed", CANCELLED)  # of refunds
PENDING = ("pending", "requires_action")
ALREADY_REFUNDED = "charge_already_refunded"
REPLAYED = "Idempotent-Replayed"  # the header of a stored response
# Decimals of amounts in the API where they differ from ISO 4217. Those of ISK and UGX must be zeros.
OTHER_DECIMALS = {"MGA": 0, "ISK": 2, "UGX": 2}
THREE_DECIMALS = 3  # amounts of these currencies must be multiples of ten


class _Response(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)


ResponseT = TypeVar("ResponseT", bound=_Response)


class _PaymentIntent(_Response):
    status: str
    currency: str
    amount_received: int = 0
    cancellation_reason: str | None = None


class _Refund(_Response):
    id: Annotated[str, Field(pattern=r"^\w{1,200}$")]
    status: str | None = None
    failure_reason: str | None = None
    metadata: dict[str, str] | None = None


class _Refunds(_Response):
    data: list[_Refund]
    has_more: bool = False


class _Error(_Response):
    type: str = ""
    code: str | None = None


class _ErrorBody(_Response):
    error: _Error


class Stripe:
    """A Stripe account. `url` is the root of the API; `timeout` limits each method, in seconds."""

    references = PAYMENT_INTENT

    def __init__(
        self,
        url: str,
        api_key: SecretStr,
        *,
        timeout: float = CALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {api_key.get_secret_value()}", "Stripe-Version": API_VERSION}
        self._client = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_TIMEOUT)),
            transport=transport,
            verify=tls_context(),
        )
        self._timeout = timeout

    async def capture(self, payment_id: str, amount: int, currency: str, reference: str) -> None:
        """Capture an authorized payment intent, unless it was captured before."""
        form = {"amount_to_capture": str(to_stripe(amount, currency))}
        async with _limit(self._timeout):
            intent = await self._intent(payment_id, currency)
            if intent.status == CAPTURABLE:
                intent = await self._change(payment_id, "capture", form, reference, CAPTURED)
        if intent.status == CANCELLED:
            raise PaymentRefused(f"authorization_{_code(intent.cancellation_reason or CANCELLED)}", httpx.codes.OK)
        if intent.status != CAPTURED or str(intent.amount_received) != form["amount_to_capture"]:
            raise PaymentRefused(f"payment_{_code(intent.status)}", httpx.codes.OK)

    async def captured(self, payment_id: str, currency: str) -> int:
        """Return how much of a payment intent was received."""
        async with _limit(self._timeout):
            intent = await self._intent(payment_id, currency)
        return from_stripe(intent.amount_received, currency) if intent.status == CAPTURED else 0

    async def release(self, payment_id: str, reference: str) -> None:
        """Cancel a payment intent that was not captured, unless it was cancelled before."""
        async with _limit(self._timeout):
            intent = await self._intent(payment_id)
            if intent.status not in (CAPTURED, CANCELLED):
                intent = await self._change(payment_id, "cancel", {}, reference, CANCELLED)
        if intent.status != CANCELLED:
            raise PaymentRefused(f"payment_{_code(intent.status)}", httpx.codes.OK)

    async def refund(self, payment_id: str, amount: int, currency: str, reference: str) -> ProviderRefund | None:
        """Refund an amount of a payment intent, unless a refund with this reference exists that has not failed."""
        wanted = {"payment_intent": payment_id, "amount": str(to_stripe(amount, currency))}
        form = wanted | {f"metadata[{REFERENCE}]": reference}
        async with _limit(self._timeout):
            earlier = await self._find_refunds(payment_id, reference)
            refund = next((each for each in earlier if each.status not in FAILED), None)
            if refund is None:
                await self._intent(payment_id, currency)  # the amount must not be one of another currency

                async def find() -> _Refund | None:
                    found = await self._find_refunds(payment_id, reference)
                    return found[0] if len(found) > len(earlier) else None

                key = f"{reference}/refund" + (f"/{len(earlier)}" if earlier else "")
                try:
                    refund = await self._once("/refunds", form, key, _Refund, find)
                except PaymentRefused as refused:
                    if refused.code == ALREADY_REFUNDED:
                        return None
                    raise
        made = _state_of(refund)
        if made.state == "failed":
            raise PaymentRefused(f"refund_{made.reason}", httpx.codes.OK)
        return made

    async def look_up_refund(self, refund_id: str) -> ProviderRefund:
        """Return what has become of a refund."""
        async with _limit(self._timeout):
            return _state_of(_read(await self._send("GET", f"/refunds/{refund_id}"), _Refund))

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    async def _change(
        self, payment_id: str, action: str, form: Mapping[str, str], reference: str, status: str
    ) -> _PaymentIntent:
        """Capture or cancel a payment intent, which then has this status."""

        async def find() -> _PaymentIntent | None:
            intent = await self._intent(payment_id)
            return intent if intent.status == status else None

        return await self._once(
            f"/payment_intents/{payment_id}/{action}", form, f"{reference}/{action}", _PaymentIntent, find
        )

    async def _intent(self, payment_id: str, currency: str | None = None) -> _PaymentIntent:
        intent = _read(await self._send("GET", f"/payment_intents/{payment_id}"), _PaymentIntent)
        if currency is not None and intent.currency.upper() != currency:
            raise PaymentRefused("other_currency", httpx.codes.OK)
        return intent

    async def _find_refunds(self, payment_id: str, reference: str) -> list[_Refund]:
        """Return the refunds with this reference, newest first."""
        found: list[_Refund] = []
        query = {"payment_intent": payment_id, "limit": str(PAGE)}
        for _ in range(MAX_PAGES):
            page = _read(await self._send("GET", "/refunds", params=query), _Refunds)
            found += [refund for refund in page.data if (refund.metadata or {}).get(REFERENCE) == reference]
            if not (page.has_more and page.data):
                return found
            query["starting_after"] = page.data[-1].id
        raise PaymentRefused("too_many_refunds", httpx.codes.OK)

    async def _once(
        self,
        path: str,
        form: Mapping[str, str],
        key: str,
        model: type[ResponseT],
        find: Callable[[], Awaitable[ResponseT | None]],
    ) -> ResponseT:
        """Send a request that is carried out once per `key`. `find` returns what it has made or changed, if anything.

        Each attempt goes through the same keys in the same order, so all of them mean the same request.
        """
        for number in range(1, MAX_KEYS + 1):
            headers = {"Idempotency-Key": f"{key}/{number}"}
            response = await self._send("POST", path, data=dict(form), headers=headers)
            if response.status < httpx.codes.INTERNAL_SERVER_ERROR or response.headers.get(REPLAYED) != "true":
                return _read(response, model)
            if (found := await find()) is not None:
                return found
        raise PaymentUnavailable(f"HTTP {response.status}")

    async def _send(self, method: str, path: str, **request: Any) -> Response:
        try:
            return await capped_http.send(self._client, method, path, **request)
        except TooLarge:
            raise PaymentUnavailable("the response is too large") from None
        except (httpx.ConnectError, httpx.ConnectTimeout, OSError) as error:
            raise PaymentsDown(type(error).__name__) from None
        except httpx.HTTPError as error:
            raise PaymentUnavailable(type(error).__name__) from None


def to_stripe(amount: int, currency: str) -> int:
    """Return an amount in our minor units as Stripe's API has it. Raises PaymentRefused if it has no such amount."""
    ours = decimals_of(currency)
    theirs = OTHER_DECIMALS.get(currency, ours)
    converted, rest = divmod(amount * int(10**theirs), int(10**ours))
    if rest or (theirs == THREE_DECIMALS and converted % 10):
        raise PaymentRefused("amount_not_supported", httpx.codes.OK)
    return converted


def from_stripe(amount: int, currency: str) -> int:
    """Return an amount of Stripe's API in our minor units."""
    ours = decimals_of(currency)
    return amount * int(10**ours) // int(10 ** OTHER_DECIMALS.get(currency, ours))


def _state_of(refund: _Refund) -> ProviderRefund:
    if refund.status in FAILED:
        return ProviderRefund(refund.id, "failed", _code(refund.failure_reason or refund.status or ""))
    return ProviderRefund(refund.id, "pending" if refund.status in PENDING else "made")


@asynccontextmanager
async def _limit(timeout: float) -> AsyncIterator[None]:  # noqa: ASYNC109 - it limits a block, not a call
    try:
        async with asyncio.timeout(timeout):
            yield
    except TimeoutError:
        raise PaymentUnavailable(f"no response within {timeout} s") from None


def _read(response: Response, model: type[ResponseT]) -> ResponseT:
    if not response.is_success:
        raise _error(response)
    try:
        return model.model_validate_json(response.content)
    except ValidationError:
        raise PaymentUnavailable("unreadable response") from None


def _error(response: Response) -> PaymentRefused | PaymentUnavailable:
    status = response.status
    if status in DOWN:
        return PaymentsDown(f"HTTP {status}", status)
    if status in BUSY or not 400 <= status <= 499:
        return PaymentUnavailable(f"HTTP {status}")
    try:
        error = _ErrorBody.model_validate_json(response.content).error
    except ValidationError:
        return PaymentRefused("unknown", status)
    return PaymentRefused(_code(error.code or error.type), status)


def _code(text: str) -> str:
    """Return a code of Stripe, or `unknown` if it is not one."""
    return text if CODE.fullmatch(text) else "unknown"
