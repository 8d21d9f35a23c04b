"""Every log line of a step says which process, run, step and attempt it belongs to."""

import time
from typing import Any

import structlog
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.boundary.failures import describe

log = structlog.stdlib.get_logger("commerce.steps")


class LogInterceptor(Interceptor):
    """Binds the step's identity to the log context and tells how each attempt ended."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the call of every activity."""
        return _LogInbound(next)


class _LogInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        info = activity.info()
        began = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            workflow_id=info.workflow_id, run_id=info.workflow_run_id, activity=info.activity_type, attempt=info.attempt
        ):
            try:
                result = await super().execute_activity(input)
            except Exception as error:
                log.warning("step failed", error=describe(error), milliseconds=_since(began))
                raise
            log.info("step done", milliseconds=_since(began))
            return result


def _since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)
