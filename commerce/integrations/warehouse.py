"""The warehouse: query the units of many SKUs at all locations.

A query changes nothing, so a failed request is retried. An answer is validated completely and never returned in part.
Errors name the invalid field, not its value.
"""

import asyncio
import math
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated

import httpx
from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from commerce.errors import WarehouseAnswerInvalid, WarehouseRefused, WarehouseUnavailable
from commerce.integrations import capped_http
from commerce.integrations.capped_http import Response, TooLarge
from commerce.integrations.retry_after import parse_retry_after
from commerce.integrations.tls import tls_context
from commerce.stock_sync import CountedLevel

MAX_SKUS = 1_000  # per query; the other limits are those of an answer
MAX_PAGES = 100
MAX_LEVELS = 100_000
MAX_PAGE_BYTES = 8 * 1024 * 1024
MAX_ON_HAND = 2**31 - 1  # the largest PostgreSQL integer
CALL_TIMEOUT = 25  # seconds for one query with all its pages and retries
REQUEST_TIMEOUT = 10  # seconds
RETRY_DELAYS = (0.2, 1.0)  # least seconds before the second and third attempt at a page
MAX_DELAY = 5  # seconds of delays in one query, even if Retry-After asks for more
CLOCK_SKEW = timedelta(minutes=5)  # how far the warehouse's clock may be ahead of ours
RETRYABLE = {408, 425, 429}
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


@dataclass(frozen=True)
class StockReading:
    """The levels of all requested SKUs that the warehouse knows; `as_of` is the earliest of their times."""

    as_of: datetime
    levels: tuple[CountedLevel, ...]


def _iso(value: object) -> object:
    if not (isinstance(value, str) and ISO_TIME.match(value)):  # pydantic would read a number as seconds since 1970
        raise ValueError("must be a time like 2026-03-01T12:00:00Z")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
_Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), strict=False), BeforeValidator(_iso)]


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Level(_Body):
    sku: _Text
    location: _Text
    on_hand: Annotated[int, Field(ge=0, le=MAX_ON_HAND)]


class _Page(_Body):
    as_of: _Time
    levels: Annotated[list[_Level], Field(max_length=MAX_LEVELS)]
    next: Annotated[str, Field(min_length=1, max_length=4096)] | None


class _RetryableError(Exception):
    """A request failed but may be retried. Private to this module; `wait`: seconds the warehouse asks to wait."""

    def __init__(self, reason: str, wait: float = 0) -> None:
        self.reason, self.wait = reason, wait


class Warehouse:
    """A client of the warehouse's API at the root `url`; `timeout` limits a query with all its retries, in seconds.

    `transport` replaces the network in tests, `sleep` the delay between attempts.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = CALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = httpx.AsyncClient(
            base_url=url, timeout=min(timeout, REQUEST_TIMEOUT), transport=transport, verify=tls_context()
        )
        self._timeout = timeout
        self._sleep = sleep

    async def levels(self, skus: Sequence[str]) -> StockReading:
        """Return the levels of 1 to 1,000 SKUs, with all pages merged.

        Raises WarehouseUnavailable, WarehouseRefused, WarehouseAnswerInvalid; ValueError for another number of SKUs.
        """
        if not 1 <= len(skus) <= MAX_SKUS:
            raise ValueError(f"a query takes 1 to {MAX_SKUS:,} SKUs, not {len(skus):,}")
        query = _Query(skus)
        try:
            async with asyncio.timeout(self._timeout):
                while not query.complete:
                    query.add(await self._page(query))
        except TimeoutError:
            raise WarehouseUnavailable(f"no complete answer within {self._timeout} s") from None
        return query.reading()

    async def close(self) -> None:
        """Close open connections."""
        await self._client.aclose()

    async def _page(self, query: "_Query") -> _Page:
        """Return the next page, after a few attempts if necessary."""
        delays = iter(RETRY_DELAYS)
        while True:
            try:
                return _parse(await self._request(query))
            except _RetryableError as error:
                delay = max(error.wait, next(delays, math.inf))
                query.delay_left -= delay
                if query.delay_left < 0:
                    raise WarehouseUnavailable(error.reason) from None
            await self._sleep(delay)

    async def _request(self, query: "_Query") -> bytes:
        body = {"skus": query.skus, "page": query.token}
        try:
            response = await capped_http.send(self._client, "POST", "/levels", max_bytes=MAX_PAGE_BYTES, json=body)
        except TooLarge:
            raise WarehouseAnswerInvalid("body", f"is larger than {MAX_PAGE_BYTES:,} bytes") from None
        except (httpx.HTTPError, OSError) as error:
            raise _RetryableError(type(error).__name__) from None
        _check_status(response)
        return response.content


class _Query:
    """A running query: the levels so far, the token of the next page, and the seconds of delay that are left."""

    def __init__(self, skus: Sequence[str]) -> None:
        self.skus = list(skus)
        self.token: str | None = None
        self.complete = False
        self.delay_left: float = MAX_DELAY
        self._requested = frozenset(skus)
        self._tokens: set[str] = set()
        self._levels: dict[tuple[str, str], CountedLevel] = {}
        self._as_of: list[datetime] = []

    def add(self, page: _Page) -> None:
        """Add a page. Raises WarehouseAnswerInvalid if it contradicts the query or the pages before it."""
        as_of = _to_utc(page.as_of)
        for number, level in enumerate(page.levels):
            self._add(f"levels.{number}", CountedLevel(level.sku, level.location, level.on_hand, as_of))
        if len(self._levels) > MAX_LEVELS:
            raise WarehouseAnswerInvalid("levels", f"are more than {MAX_LEVELS:,} on all pages")
        self._as_of.append(as_of)
        self._continue_with(page.next)

    def reading(self) -> StockReading:
        """Return the levels of all pages."""
        return StockReading(min(self._as_of), tuple(self._levels.values()))

    def _add(self, where: str, level: CountedLevel) -> None:
        if level.sku not in self._requested:
            raise WarehouseAnswerInvalid(f"{where}.sku", "was not requested")
        first = self._levels.setdefault((level.sku, level.location), level)
        if first.on_hand != level.on_hand:
            problem = "differs from an earlier level of the same SKU and location"
            raise WarehouseAnswerInvalid(f"{where}.on_hand", problem)

    def _continue_with(self, token: str | None) -> None:
        if token in self._tokens:
            raise WarehouseAnswerInvalid("next", "repeats the token of an earlier page")
        if len(self._as_of) == MAX_PAGES and token is not None:
            raise WarehouseAnswerInvalid("next", f"continues after {MAX_PAGES} pages")
        self.token, self.complete = token, token is None
        if token is not None:
            self._tokens.add(token)


def _parse(content: bytes) -> _Page:
    try:
        return _Page.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise WarehouseAnswerInvalid(field, first["msg"].removeprefix("Value error, ")) from None


def _to_utc(as_of: datetime) -> datetime:
    """Return the time in UTC. A future time is refused, because it would hide the shop's movements until then."""
    if as_of > datetime.now(UTC) + CLOCK_SKEW:
        raise WarehouseAnswerInvalid("as_of", "is in the future")
    return as_of.astimezone(UTC)


def _check_status(response: Response) -> None:
    status = response.status
    if httpx.codes.is_client_error(status) and status not in RETRYABLE:
        raise WarehouseRefused(status)
    if not response.is_success:
        raise _RetryableError(f"HTTP {status}", parse_retry_after(response.headers.get("Retry-After", "")))
