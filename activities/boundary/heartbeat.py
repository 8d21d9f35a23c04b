"""Heartbeats for long steps, so that Temporal notices a lost worker soon and the step receives a cancel."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

BEATS = 3  # heartbeats per heartbeat timeout


class HeartbeatInterceptor(Interceptor):
    """Sends heartbeats while a step runs, if it has a heartbeat timeout. They carry no progress."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap every activity call."""
        return _HeartbeatInbound(next)


class _HeartbeatInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        timeout = activity.info().heartbeat_timeout
        if timeout is None:
            return await super().execute_activity(input)
        beating = asyncio.create_task(_beat(timeout / BEATS))
        try:
            return await super().execute_activity(input)
        finally:
            beating.cancel()


async def _beat(interval: timedelta) -> None:
    """Send heartbeats until cancelled. A step that is shorter than the interval sends none."""
    while True:
        await asyncio.sleep(interval.total_seconds())
        activity.heartbeat()
