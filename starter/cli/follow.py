"""Prints the steps of a run as they happen."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from commerce.messages.progress import Progress
from starter.cli.shared import step_line

POLL = 0.3  # seconds


async def follow_steps(handle: WorkflowHandle[Any, Any], print_step: Callable[[str], None]) -> None:
    """Print a line for each change of a step, until the run has completed or failed."""
    end = asyncio.ensure_future(_wait_for_end(handle))
    printed: dict[str, str] = {}
    while True:
        has_ended = end.done()
        for step in (await _progress(handle)).steps:
            if step.state != "pending" and printed.get(step.name) != step.state:
                printed[step.name] = step.state
                print_step(step_line(step))
        if has_ended:
            return
        await asyncio.wait([end], timeout=POLL)


async def _wait_for_end(handle: WorkflowHandle[Any, Any]) -> None:
    """Wait until the run ends; the caller gets its result or failure."""
    with suppress(WorkflowFailureError, RPCError):
        await handle.result()


async def _progress(handle: WorkflowHandle[Any, Any]) -> Progress:
    try:
        progress: Progress = await handle.query("progress", result_type=Progress)
    except RPCError:  # no worker answers at the moment
        return Progress()
    return progress
