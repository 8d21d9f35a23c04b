"""What a program does in the background. A lost cancel is repeated, so that the program can end."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import asynccontextmanager
from typing import Any

CANCEL_INTERVAL = 1  # seconds between two cancels


async def run_until(stop: asyncio.Event, *background: Coroutine[Any, Any, Any]) -> None:
    """Run coroutines until `stop` is set. If one ends before, which is a bug, its exception is raised."""
    tasks, stopping = [asyncio.create_task(work) for work in background], asyncio.create_task(stop.wait())
    ended, running = await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await _cancel(running)
    for task in ended.intersection(tasks):
        task.result()


@asynccontextmanager
async def run_in_background(work: Coroutine[Any, Any, Any]) -> AsyncIterator[None]:
    """Run `work` as a task until the block ends, then cancel it."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        await _cancel({task})


async def _cancel(running: Collection[asyncio.Task[Any]]) -> None:
    """Cancel tasks until they have ended: a cancel is lost if a connection breaks, or a wait ends, at that moment."""
    while running := {task for task in running if not task.done()}:
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=CANCEL_INTERVAL)
