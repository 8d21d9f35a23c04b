"""Prints the steps of a run as they happen, and why it does not move."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from temporalio.client import Client, WorkflowFailureError, WorkflowHandle
from temporalio.service import RPCError

from commerce.messages.progress import Progress
from starter.cli.shared import step_line
from starter.connection.rpc import RPC_TIMEOUT
from starter.operate.run_history import last_error_of_code, recent_events
from starter.operate.worker_presence import is_worker_polling
from starter.processes import TASK_QUEUE

POLL = 0.3  # seconds
PATIENCE = 3  # seconds until somebody who waits wants to know why
NO_WORKER = "No worker runs, so the process waits: start one with `commerce worker`, or everything with `commerce up`"


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
        progress: Progress = await handle.query("progress", result_type=Progress, rpc_timeout=RPC_TIMEOUT)
    except RPCError:  # no worker answers at the moment
        return Progress()
    return progress


async def warn_while_stuck(client: Client, handle: WorkflowHandle[Any, Any], warn: Callable[[str], None]) -> None:
    """Print each reason why a run does not move once, until cancelled."""
    warned: set[str] = set()
    while True:
        await asyncio.sleep(PATIENCE)
        with suppress(RPCError):  # Temporal does not answer: whoever waits for the result reports it
            reason = await _why_stuck(client, handle)
            if reason and reason not in warned:
                warned.add(reason)
                warn(reason)


async def _why_stuck(client: Client, handle: WorkflowHandle[Any, Any]) -> str | None:
    if not await is_worker_polling(client, TASK_QUEUE):
        return NO_WORKER
    run = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    if run.raw_description.pending_workflow_task.attempt <= 1:
        return None
    error = await last_error_of_code(client, await recent_events(client, run))
    return error and f"{handle.id} waits, because its code fails: {error}"
