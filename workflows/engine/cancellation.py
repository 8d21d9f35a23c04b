"""Ways to wait for steps while cancels and failures come in between."""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import TypeVar, cast

from temporalio.exceptions import FailureError, is_cancelled_exception

T = TypeVar("T")
STOPPED = (asyncio.CancelledError, FailureError)  # a cancel on a timer is no FailureError; a plain bug is neither


async def uninterrupted(work: Coroutine[object, object, T]) -> T:
    """Await work to its end whatever cancels arrive meanwhile; one shield alone lets go at the first."""
    task = asyncio.create_task(work)
    while not task.done():
        with suppress(asyncio.CancelledError):
            await asyncio.shield(task)
    return task.result()


async def allow_failure(step: Awaitable[T]) -> T | None:
    """Await a step that may fail: None then, and the process goes on; a later failure still undoes the step."""
    try:
        return await step
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
        return None


async def gather(*steps: Awaitable[T]) -> list[T]:
    """Run steps side by side; all have ended before the first error (in argument order) is raised."""
    answers = await asyncio.gather(*steps, return_exceptions=True)
    for answer in answers:
        if isinstance(answer, BaseException):
            raise answer
    return cast(list[T], answers)
