"""Limits how many processes are started over HTTP, so that a flood of requests does not make orders wait."""

import asyncio
import hashlib
import math
import time
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter

from commerce import passwords
from commerce.messages.base import Message
from commerce.settings import Settings, parse_rates
from starter.api.error_codes import ErrorCode
from starter.api.errors import ApiError, Problem, Responses, error_examples
from starter.entries import Registration

T = TypeVar("T")
MAX_WAITING = 16  # registrations that wait for their password to be hashed
RETRY_SECONDS = 5
CLIENT_CLOSED_REQUEST = 499  # only for the log: the caller has left

TOO_MANY_STARTS = "Too many processes of this type were started"
TOO_MANY_REGISTRATIONS = "Too many registrations"
TOO_MANY_DELIVERIES = "Too many deliveries"
RESPONSES: Responses = {
    **error_examples(
        HTTPStatus.TOO_MANY_REQUESTS,
        "Too many requests of this kind; `Retry-After` says in how many seconds to try again",
        Problem(error=TOO_MANY_STARTS, code=ErrorCode.TooManyRequests),
    ),
}


class CallerLeft(Exception):
    """The caller has closed the connection before its turn came. Private to this package: nobody gets a response."""


class Admission:
    """Counts starts per process type, registrations per caller and per e-mail address, and deliveries per platform.

    It counts in memory of this process.

    Registrations also wait in a short queue, because hashing a password takes a processor a fraction of a second.
    """

    def __init__(self, settings: Settings) -> None:
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._starts = parse_rates(settings.limit_starts)
        self._per_caller = parse_rates(settings.limit_registrations)
        # Where addresses are proven, registrations in somebody else's name must not use up what the owner may do.
        unlimited = settings.confirm_address == "on"
        self._per_address = () if unlimited else parse_rates(settings.limit_registrations_per_address)
        self._deliveries = parse_rates(settings.limit_intake)
        self._waiting = 0
        self._hashing = asyncio.Semaphore(passwords.THREADS)

    @asynccontextmanager
    async def starting(self, kind: str, entry: Message, request: Request) -> AsyncIterator[None]:
        """Count the start of a process of this type, and run the block; a registration waits in the queue first.

        Raises ApiError if there were too many or the queue is full, and CallerLeft.
        """
        if not isinstance(entry, Registration):
            await self._hit(self._starts, TOO_MANY_STARTS, "start", kind)
            yield
            return
        await self._wait(request)
        try:
            # Counted only now: those who left the queue must not use up what others may do.
            await self._hit(self._starts, TOO_MANY_STARTS, "start", kind)
            await self._hit(self._per_caller, TOO_MANY_REGISTRATIONS, "caller", _caller(request))
            await self._hit(self._per_address, TOO_MANY_REGISTRATIONS, "address", entry.email)
            yield
        finally:
            self._hashing.release()

    async def confirmation(self, request: Request) -> None:
        """Count an attempt to confirm a registration, which compares passwords; raises ApiError after too many."""
        await self._hit(self._per_caller, TOO_MANY_REGISTRATIONS, "confirmation", _caller(request))

    async def delivery(self, platform: str) -> None:
        """Count a signed delivery of a platform; raises ApiError if there were too many."""
        await self._hit(self._deliveries, TOO_MANY_DELIVERIES, "delivery", platform)

    async def _wait(self, request: Request) -> None:
        """Wait until a password may be hashed."""
        if self._waiting >= MAX_WAITING:
            raise _refusal(HTTPStatus.SERVICE_UNAVAILABLE, TOO_MANY_REGISTRATIONS, RETRY_SECONDS)
        self._waiting += 1
        try:
            await unless_caller_leaves(request, self._hashing.acquire())
        finally:
            self._waiting -= 1

    async def _hit(self, rates: Sequence[RateLimitItem], message: str, *key: str) -> None:
        for rate in rates:
            if not await self._limiter.hit(rate, *key):
                free_at = (await self._limiter.get_window_stats(rate, *key)).reset_time
                raise _refusal(HTTPStatus.TOO_MANY_REQUESTS, message, max(1, math.ceil(free_at - time.time())))


async def unless_caller_leaves(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Return the result of `work`; if the caller disconnects first, cancel it and raise CallerLeft."""
    working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(request.receive())
    try:
        await asyncio.wait([working, leaving], return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise CallerLeft
    finally:
        leaving.cancel()
        if not working.done():
            working.cancel()
            await asyncio.wait([working])


def _refusal(status: HTTPStatus, message: str, seconds: int) -> ApiError:
    return ApiError(status, ErrorCode.TooManyRequests, message, {"Retry-After": str(seconds)})


def _caller(request: Request) -> str:
    """Return what identifies a caller: its token, else its network address."""
    if authorization := request.headers.get("authorization"):
        return hashlib.sha256(authorization.encode()).hexdigest()
    return request.client.host if request.client else ""


def _admission(request: Request) -> Admission:
    admission: Admission = request.app.state.admission
    return admission


AdmissionDep = Annotated[Admission, Depends(_admission)]
