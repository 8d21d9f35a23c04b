"""Wait for something that becomes true a little later."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

T = TypeVar("T")
# SQL: sessions that wait for a lock. pg_locks lists those of all databases of the server, which the tests share. Ask in
# a new transaction each time: within one, PostgreSQL gives the same answer again.
LOCK_WAITS = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def until(check: Callable[[], Awaitable[T | None]], seconds: float = 120) -> T:
    """Call `check` until it returns a value, and return that value. Temporal's lists, for example, lag behind."""
    began = time.monotonic()
    while (answer := await check()) is None:
        assert time.monotonic() - began < seconds
        await asyncio.sleep(pause(began))
    return answer


async def until_lock_wait(fetch: Callable[[str], Awaitable[Sequence[object]]]) -> None:
    """Wait until a session waits for a lock; `fetch` queries its database, each time in a new transaction."""

    async def waits() -> bool | None:
        return bool(await fetch(LOCK_WAITS)) or None

    await until(waits)


def pause(began: float) -> float:
    """Return when to look again at what is waited for since then, in seconds: what takes long is looked at less often.

    A look costs milliseconds, often in Temporal and a worker, too.
    """
    return min(max((time.monotonic() - began) / 10, 0.02), 0.5)
