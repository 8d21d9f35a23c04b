"""What the API runs in the background ends with it."""

import asyncio
from contextlib import suppress

from starter.api.app import run_in_background

DEADLINE = 60  # seconds; reached only by what hangs


async def test_work_that_loses_a_cancel_is_cancelled_again() -> None:
    started = asyncio.Event()

    async def publish() -> None:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        await asyncio.Event().wait()

    async with asyncio.timeout(DEADLINE), run_in_background(publish()):
        await started.wait()
