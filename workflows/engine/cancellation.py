"""Await steps correctly when cancels and failures arrive in between."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TypeVar, cast

from temporalio.exceptions import FailureError, is_cancelled_exception

T = TypeVar("T")

# What ends a run early. A cancel that arrives on a timer is a CancelledError, which is not a FailureError.
# A plain bug is neither: it must leave the run open for a fixed deployment.
CANCEL_OR_FAILURE = (asyncio.CancelledError, FailureError)


async def uninterrupted(work: Coroutine[object, object, T]) -> T:
    """Await `work` to its end, ignoring cancels. A single `asyncio.shield` would give up at the first one."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


async def allow_failure(step: Awaitable[T]) -> T | None:
    """Await a step that may fail (E7). Returns None if it failed; a later failure of the run still undoes the step."""
    try:
        return await step
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
        return None


async def gather(*steps: Awaitable[T]) -> list[T]:
    """Run steps in parallel (E8). Waits for all of them, then raises the first error in argument order."""
    answers = await asyncio.gather(*steps, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast(list[T], answers)
