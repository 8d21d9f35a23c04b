"""Signal other processes."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import FailureError

from workflows.engine.cancellation import uninterrupted


async def send_signal(process_id: str, signal: str, *args: object) -> bool:
    """Send a signal to another process, and return whether that has a run which is open.

    A cancel meanwhile neither stops the signal nor is raised here. The next step of the saga raises it; whoever waits
    for something else calls `raise_cancel` first. The SDK would cancel the signal, and if that has failed in the same
    workflow task, no task of the run succeeds any more ("Invalid transition in state machine").
    """
    receiver = workflow.get_external_workflow_handle(process_id)  # noqa: TID251 - this is what all others use
    try:
        await uninterrupted(receiver.signal(signal, args=args))
    except FailureError:
        return False
    return True


def raise_cancel() -> None:
    """Raise the cancel that the run has received, if any. Earlier versions went on to wait."""
    if workflow.cancellation_reason() is not None and workflow.patched("cancel-after-signal"):
        raise asyncio.CancelledError
