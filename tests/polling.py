"""Wait for something that becomes true a little later."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")


async def until(check: Callable[[], Awaitable[T | None]], seconds: float = 120) -> T:
    """Call `check` until it returns a value, and return that value. Temporal's lists, for example, lag behind."""
    deadline = time.monotonic() + seconds
    while (answer := await check()) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return answer
