"""Shows a run's steps on a terminal as they happen."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from commerce.messages.progress import MARKS, Progress

POLL = 0.3  # seconds between two looks


async def follow(handle: WorkflowHandle[Any, Any], say: Callable[[str], None]) -> None:
    """Say every change of a step until the run has ended, whichever way."""
    ended = asyncio.ensure_future(_end(handle))
    told: dict[str, str] = {}
    while True:
        over = ended.done()
        for step in (await _progress(handle)).steps:
            if step.state != "pending" and told.get(step.name) != step.state:
                told[step.name] = step.state
                say("  ".join(filter(None, (f"{MARKS[step.state]} {step.name}", step.note, step.error))))
        if over:
            return
        await asyncio.wait([ended], timeout=POLL)


async def _end(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until it has ended; how is for the caller to ask."""
    with suppress(WorkflowFailureError, RPCError):
        await handle.result()


async def _progress(handle: WorkflowHandle[Any, Any]) -> Progress:
    try:
        progress: Progress = await handle.query("progress", result_type=Progress)
    except RPCError:  # no worker answers at the moment: nothing new to tell
        return Progress()
    return progress
