"""Calls to Temporal: one timeout for all of them, and one-line errors."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from temporalio.client import Client, WorkflowExecutionDescription
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import Unreachable

RPC_TIMEOUT = timedelta(seconds=10)
KEY = "TEMPORAL_API_KEY"
FORBIDDEN = (RPCStatusCode.PERMISSION_DENIED, RPCStatusCode.UNAUTHENTICATED)


@contextmanager
def unreachable_if_refused(action: str) -> Iterator[None]:
    """Turn any RPCError in the block into Unreachable: "Temporal could not `action`: …"."""
    try:
        yield
    except RPCError as error:
        advice = f" (check the permissions of {KEY})" if error.status in FORBIDDEN else ""
        raise Unreachable(f"Temporal could not {action}: {error.message.removesuffix('.')}{advice}") from error


async def find_latest_run(client: Client, process_id: str) -> WorkflowExecutionDescription | None:
    """Describe the latest run of a process, or return None if there is none. Raises RPCError."""
    try:
        return await client.get_workflow_handle(process_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status not in (RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT):  # the id is too long
            raise
        return None
