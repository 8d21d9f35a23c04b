"""A worker for tests that hangs where it is told: `python -m tests.system.pausing_worker`.

PAUSES is a JSON object of points by order id or, for jobs, by process id: {"42": "create-shipping-label after-buy",
"nightly": "delete-expired-carts/2 after"}. A point is a step and where. The step is an activity, or one batch of a job
by its number. Where is `before` its body, `after` it (committed, its answer not yet reported), or `before-` and
`after-` one of the CALLS: to the outside, or within the transaction of a batch. `deaf` is `before`, and ignores being
cancelled. A file named like the order or process appears in the folder MARKERS when the worker hangs there.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import worker
from commerce import analytics, carts, stock_sync, upkeep
from commerce.integrations.easypost import EasyPost
from commerce.integrations.warehouse import Warehouse
from commerce.mail.smtp import MailServer
from commerce.messages.orders import order_process_id

OUTSIDE = ((EasyPost, "create"), (EasyPost, "buy"), (EasyPost, "refund"), (MailServer, "send"), (Warehouse, "levels"))
WITHIN = (
    (carts, "expire"),
    (stock_sync, "write_levels"),
    (stock_sync, "count_changes"),
    (analytics, "count_day"),
    (upkeep, "prune_keys"),
)
CALLS = (*OUTSIDE, *WITHIN)

batch: ContextVar[str] = ContextVar("batch")  # the key of the step at work: `delete-expired-carts/2`


class Pauses(Interceptor):
    """Hangs at one point per order or process."""

    def __init__(self, points: Mapping[str, str], markers: Path) -> None:
        self._points = points
        self._markers = markers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _PausingInbound(next, self)

    async def reach(self, where: str) -> None:
        """Hang for ever if the step at work is to hang here."""
        step = activity.info()
        assert step.workflow_id is not None
        name = step.workflow_id.removeprefix(order_process_id(""))
        if self._points.get(name) not in (f"{step.activity_type} {where}", f"{batch.get()} {where}"):
            return
        (self._markers / name).touch()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if where != "deaf":
                    raise

    def surround(self, owner: object, method: str) -> None:
        """Let calls of this method of a class, or function of a module, be points too."""
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
        batch.set(input.args[0].key.step)
        await self._pauses.reach("before")
        await self._pauses.reach("deaf")
        answer = await super().execute_activity(input)
        await self._pauses.reach("after")
        return answer


def main() -> None:
    pauses = Pauses(json.loads(os.environ["PAUSES"]), Path(os.environ["MARKERS"]))
    for owner, method in CALLS:
        pauses.surround(owner, method)
    worker.main([pauses])


if __name__ == "__main__":
    main()
