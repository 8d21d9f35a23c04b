"""How programs stop."""

import asyncio
from contextlib import suppress

from starter.operate.background import run_until

DEADLINE = 60  # seconds; reached only by what hangs


async def test_work_in_the_background_that_loses_a_cancel_is_cancelled_again() -> None:
    """So it may be with a cancel at the moment at which a connection breaks."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def relay() -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    working = asyncio.create_task(run_until(stop, relay()))
    await started.wait()
    stop.set()
    async with asyncio.timeout(DEADLINE):
        await working
