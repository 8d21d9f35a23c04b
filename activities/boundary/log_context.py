"""Add process id, run, step and attempt to all log lines of a step."""

import time
from typing import Any

import structlog
from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from activities.boundary.failures import describe

log = structlog.stdlib.get_logger("commerce.steps")


class LogInterceptor(Interceptor):
    """Binds the step to the log context, and logs how each attempt ends."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity call."""
        return _LogInbound(next)


class _LogInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        info = activity.info()
        started = time.monotonic()
        with structlog.contextvars.bound_contextvars(
            workflow_id=info.workflow_id, run_id=info.workflow_run_id, activity=info.activity_type, attempt=info.attempt
        ):
            try:
                result = await super().execute_activity(input)
            except Exception as error:
                log.warning("step failed", error=describe(error), milliseconds=_since(started))
                raise
            log.info("step done", milliseconds=_since(started))
            return result


def _since(started: float) -> int:
    return round((time.monotonic() - started) * 1000)
