"""The warehouse: how many units of our SKUs lie at which of its locations, asked in bulk.

Asking changes nothing, so what fails is asked again. An answer is checked in full, and never returned in part; what is
wrong with one is told by the name of the field, never by what it holds.
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
from commerce.integrations.retry_after import retry_after
from commerce.stock_sync import CountedLevel

MAX_SKUS = 1_000  # in one question; the other bounds are those of its answer
MAX_PAGES = 100
MAX_LEVELS = 100_000
MAX_PAGE_BYTES = 8 * 1024 * 1024
MAX_ON_HAND = 2**31 - 1  # what an integer column holds
CALL_TIMEOUT = 25  # seconds for one question with all its pages and pauses
REQUEST_TIMEOUT = 10  # seconds
PAUSES = (0.2, 1.0)  # seconds, at least, before the second and the third try at a page
PATIENCE = 5  # seconds of pauses in one question, whatever the warehouse asks for
CLOCK_SKEW = timedelta(minutes=5)  # how far the warehouse's clock may be ahead of ours
RETRYABLE = {408, 425, 429}
ISO_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]", re.ASCII)


@dataclass(frozen=True)
class OnHand:
    """A full answer; a SKU that is not in it is unknown to the warehouse. `as_of`: the earliest of its levels'."""

    as_of: datetime
    levels: tuple[CountedLevel, ...]


def _iso(value: object) -> object:
    if not (isinstance(value, str) and ISO_TIME.match(value)):  # pydantic takes numbers for seconds since 1970
        raise ValueError("must be a time like 2026-03-01T12:00:00Z")
    return value


_Text = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
_Time = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), strict=False), BeforeValidator(_iso)]


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True, hide_input_in_errors=True)


class _Level(_Answer):
    sku: _Text
    location: _Text
    on_hand: Annotated[int, Field(ge=0, le=MAX_ON_HAND)]


class _Page(_Answer):
    as_of: _Time
    levels: Annotated[list[_Level], Field(max_length=MAX_LEVELS)]
    next: Annotated[str, Field(min_length=1, max_length=4096)] | None


class _NotNow(Exception):
    """A try failed and another may succeed. Private to this module; `after`: seconds the warehouse asks us to wait."""

    def __init__(self, reason: str, after: float = 0) -> None:
        self.reason, self.after = reason, after


class Warehouse:
    """One warehouse; `url` is its API's root, `timeout` bounds each question with all its tries, in seconds.

    `transport` stands in for the network in tests, `pause` for the time between tries.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = CALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=min(timeout, REQUEST_TIMEOUT), transport=transport)
        self._timeout = timeout
        self._pause = pause

    async def levels(self, skus: Sequence[str]) -> OnHand:
        """Return what the warehouse has of 1 to 1,000 SKUs, all pages merged.

        Raises WarehouseUnavailable, WarehouseRefused, WarehouseAnswerInvalid; ValueError for another number of SKUs.
        """
        if not 1 <= len(skus) <= MAX_SKUS:
            raise ValueError(f"a question has 1 to {MAX_SKUS:,} SKUs, not {len(skus):,}")
        question = _Question(skus)
        try:
            async with asyncio.timeout(self._timeout):
                while question.open:
                    question.add(await self._page(question))
        except TimeoutError:
            raise WarehouseUnavailable(f"no full answer within {self._timeout} s") from None
        return question.answer()

    async def close(self) -> None:
        """Close what connections are open."""
        await self._client.aclose()

    async def _page(self, question: "_Question") -> _Page:
        """Return the next page, after a few tries if need be."""
        pauses = iter(PAUSES)
        while True:
            try:
                return _page(await self._ask(question))
            except _NotNow as failed:
                wait = max(failed.after, next(pauses, math.inf))
                question.patience -= wait
                if question.patience < 0:
                    raise WarehouseUnavailable(failed.reason) from None
            await self._pause(wait)

    async def _ask(self, question: "_Question") -> bytes:
        body = {"skus": question.skus, "page": question.token}
        try:
            async with self._client.stream("POST", "/levels", json=body) as answer:
                _refuse_status(answer)
                return await _content(answer)
        except (httpx.HTTPError, OSError) as error:
            raise _NotNow(type(error).__name__) from None


class _Question:
    """A question under way: what was found so far, the token of the page to ask for next, what pauses are left."""

    def __init__(self, skus: Sequence[str]) -> None:
        self.skus = list(skus)
        self.token: str | None = None
        self.open = True
        self.patience: float = PATIENCE
        self._asked = frozenset(skus)
        self._tokens: set[str] = set()
        self._found: dict[tuple[str, str], CountedLevel] = {}
        self._as_of: list[datetime] = []

    def add(self, page: _Page) -> None:
        """Take a page in; raises WarehouseAnswerInvalid when it does not go with the question or the other pages."""
        as_of = _past(page.as_of)
        for number, level in enumerate(page.levels):
            self._add(f"levels.{number}", CountedLevel(level.sku, level.location, level.on_hand, as_of))
        if len(self._found) > MAX_LEVELS:
            raise WarehouseAnswerInvalid("levels", f"are more than {MAX_LEVELS:,} on all pages")
        self._as_of.append(as_of)
        self._turn(page.next)

    def answer(self) -> OnHand:
        """Return all that was found."""
        return OnHand(min(self._as_of), tuple(self._found.values()))

    def _add(self, where: str, level: CountedLevel) -> None:
        if level.sku not in self._asked:
            raise WarehouseAnswerInvalid(f"{where}.sku", "was not asked for")
        known = self._found.setdefault((level.sku, level.location), level)
        if known.on_hand != level.on_hand:
            raise WarehouseAnswerInvalid(f"{where}.on_hand", "is not what the same SKU and location had before")

    def _turn(self, token: str | None) -> None:
        if token in self._tokens:
            raise WarehouseAnswerInvalid("next", "is the token of a page that was there before")
        if len(self._as_of) == MAX_PAGES and token is not None:
            raise WarehouseAnswerInvalid("next", f"goes on after {MAX_PAGES} pages")
        self.token, self.open = token, token is not None
        self._tokens.update(() if token is None else (token,))


def _page(content: bytes) -> _Page:
    try:
        return _Page.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "body"
        raise WarehouseAnswerInvalid(field, first["msg"].removeprefix("Value error, ")) from None


def _past(as_of: datetime) -> datetime:
    """Return the time in UTC; a future one would hide our own movements until then."""
    if as_of > datetime.now(UTC) + CLOCK_SKEW:
        raise WarehouseAnswerInvalid("as_of", "lies in the future")
    return as_of.astimezone(UTC)


async def _content(answer: httpx.Response) -> bytes:
    content = bytearray()
    async for chunk in answer.aiter_bytes():
        content += chunk
        if len(content) > MAX_PAGE_BYTES:
            raise WarehouseAnswerInvalid("body", f"is larger than {MAX_PAGE_BYTES:,} bytes")
    return bytes(content)


def _refuse_status(answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_client_error and status not in RETRYABLE:
        raise WarehouseRefused(status)
    if not answer.is_success:
        raise _NotNow(f"HTTP {status}", retry_after(answer.headers.get("Retry-After", "")))
