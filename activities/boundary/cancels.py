"""Ask Temporal for a cancel before a step that should not run after one.

Local steps are part of one workflow task, during which their process receives no cancel. The first regular step after
them asks for it, at its first attempt: a later one of a final step might follow one that had its effect, and any other
step is cancelled by its process. A final step that follows them locally asks at each try. A try that is refused may
follow one that had its effect, too. Therefore the saga asks the ledger before it undoes anything.
"""

from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.service import RPCError
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from commerce.errors import CancelRequested, Unreachable

RPC_TIMEOUT = timedelta(seconds=5)


class CancelInterceptor(Interceptor):
    """Refuses a step with CancelRequested if its call says so and a cancel has been requested."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity call."""
        return _CancelInbound(next)


class _CancelInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        asks: bool = getattr(input.args[0], "asks_for_cancel", False) if input.args else False
        if asks and activity.info().attempt == 1 and await _is_cancel_requested():
            raise CancelRequested(activity.info().activity_type)
        return await super().execute_activity(input)


async def _is_cancel_requested() -> bool:
    info = activity.info()
    assert info.workflow_id is not None
    handle = activity.client().get_workflow_handle(info.workflow_id, run_id=info.workflow_run_id)
    try:
        description = await handle.describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        raise Unreachable(f"Temporal could not describe {info.workflow_id}: {error.message}") from error
    return description.raw_description.workflow_extended_info.cancel_requested
