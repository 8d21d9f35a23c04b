"""A long step says that it is alive: a lost worker is noticed soon, and a cancel is heard of."""

import asyncio
from datetime import timedelta
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

BEATS = 3  # heartbeats within the time after which a silent step is taken for lost


class HeartbeatInterceptor(Interceptor):
    """Beats while a step runs that is called with a heartbeat timeout; never a record of what it has done."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        """Wrap the call of every activity."""
        return _LivingInbound(next)


class _LivingInbound(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        silence = activity.info().heartbeat_timeout
        if silence is None:
            return await super().execute_activity(input)
        beating = asyncio.create_task(_beat(silence / BEATS))
        try:
            return await super().execute_activity(input)
        finally:
            beating.cancel()


async def _beat(every: timedelta) -> None:
    """Beat until cancelled; a step shorter than one beat costs no call."""
    while True:
        await asyncio.sleep(every.total_seconds())
        activity.heartbeat()
