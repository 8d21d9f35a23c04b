"""A worker for tests that hangs where it is told: `python -m tests.system.pausing_worker`.

PAUSES is a JSON object of order ids and points, like {"42": "create-shipping-label after-buy"}. A point is an activity
and where: `before` its body, `after` it (committed, its answer not yet reported), or `before-` and `after-` a call
of the outside: create, buy, refund, send. `deaf` is `before`, and ignores being cancelled. A file named like the order
appears in the folder MARKERS when the worker hangs there.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import worker
from commerce.integrations.carrier import Carrier
from commerce.integrations.email import Mail
from commerce.messages.orders import order_process_id

OUTSIDE = ((Carrier, "create"), (Carrier, "buy"), (Carrier, "refund"), (Mail, "send"))


class Pauses(Interceptor):
    """Hangs at one point per order."""

    def __init__(self, points: Mapping[str, str], markers: Path) -> None:
        self._points = points
        self._markers = markers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _PausingInbound(next, self)

    async def reach(self, where: str) -> None:
        """Hang for ever if the step at work is to hang here."""
        step = activity.info()
        assert step.workflow_id is not None
        order_id = step.workflow_id.removeprefix(order_process_id(""))
        if self._points.get(order_id) != f"{step.activity_type} {where}":
            return
        (self._markers / order_id).touch()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if where != "deaf":
                    raise

    def surround(self, owner: type, method: str) -> None:
        """Let calls of this method be points too."""
        call = getattr(owner, method)

        async def paused(*args: Any, **options: Any) -> Any:
            await self.reach(f"before-{method}")
            answer = await call(*args, **options)
            await self.reach(f"after-{method}")
            return answer

        setattr(owner, method, paused)


class _PausingInbound(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, pauses: Pauses) -> None:  # noqa: A002
        super().__init__(next)
        self._pauses = pauses

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        await self._pauses.reach("before")
        await self._pauses.reach("deaf")
        answer = await super().execute_activity(input)
        await self._pauses.reach("after")
        return answer


def main() -> None:
    pauses = Pauses(json.loads(os.environ["PAUSES"]), Path(os.environ["MARKERS"]))
    for owner, method in OUTSIDE:
        pauses.surround(owner, method)
    worker.main([pauses])


if __name__ == "__main__":
    main()
