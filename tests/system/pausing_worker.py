"""A worker for tests that hangs at given points: `python -m tests.system.pausing_worker`.

PAUSES is a JSON object of points by order id or, for jobs, by process id: {"42": "create-shipping-label after-buy",
"nightly": "delete-expired-carts/2 after"}. A point is a step and a place in it, separated by a space. The step is an
activity, or one batch of a job by its number. The places are:

- `before`: before the activity's body
- `after`: after the body; the step is committed, its result is not reported to Temporal yet
- `before-NAME`, `after-NAME`: around one of the CALLS to an external service or within the transaction of a batch
- `ignoring-cancel`: like `before`, but the activity ignores its cancellation

When the worker hangs, it creates a file named after the order or process in the folder MARKERS.
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
from commerce import analytics, carts, erasure, stock_sync, upkeep
from commerce.integrations.easypost import EasyPost
from commerce.integrations.picking import Picking
from commerce.integrations.stripe import Stripe
from commerce.integrations.warehouse import Warehouse
from commerce.mail.smtp import MailServer
from commerce.messages.orders import order_process_id

EXTERNAL_CALLS = (
    (EasyPost, "create"),
    (EasyPost, "buy"),
    (EasyPost, "refund"),
    (Stripe, "capture"),
    (Stripe, "refund"),
    (Picking, "request"),
    (Picking, "cancel"),
    (MailServer, "send"),
    (Warehouse, "levels"),
)
CALLS_IN_BATCHES = (
    (carts, "expire"),
    (stock_sync, "write_levels"),
    (stock_sync, "count_changes"),
    (analytics, "count_day"),
    (upkeep, "prune_keys"),
    (erasure, "erase"),
)
CALLS = (*EXTERNAL_CALLS, *CALLS_IN_BATCHES)

step_key: ContextVar[str] = ContextVar("step_key")  # the key of the current step: `delete-expired-carts/2`


class Pauses(Interceptor):
    """Makes each of the given orders and processes hang at its point."""

    def __init__(self, points: Mapping[str, str], markers: Path) -> None:
        self._points = points
        self._markers = markers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _PausingActivities(next, self)

    async def hang_at(self, place: str) -> None:
        """Hang forever if this is the point of the current process."""
        if not activity.in_activity():  # what the worker does in the background
            return
        step = activity.info()
        assert step.workflow_id is not None
        name = step.workflow_id.removeprefix(order_process_id(""))
        if self._points.get(name) not in (f"{step.activity_type} {place}", f"{step_key.get()} {place}"):
            return
        (self._markers / name).touch()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if place != "ignoring-cancel":
                    raise

    def add_points(self, owner: object, method: str) -> None:
        """Add points before and after the calls of this method of a class or function of a module."""
        call = getattr(owner, method)

        async def paused(*args: Any, **options: Any) -> Any:
            await self.hang_at(f"before-{method}")
            result = await call(*args, **options)
            await self.hang_at(f"after-{method}")
            return result

        setattr(owner, method, paused)


class _PausingActivities(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, pauses: Pauses) -> None:  # noqa: A002
        super().__init__(next)
        self._pauses = pauses

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        step_key.set(input.args[0].key.step)
        await self._pauses.hang_at("before")
        await self._pauses.hang_at("ignoring-cancel")
        result = await super().execute_activity(input)
        await self._pauses.hang_at("after")
        return result


def main() -> None:
    pauses = Pauses(json.loads(os.environ["PAUSES"]), Path(os.environ["MARKERS"]))
    for owner, method in CALLS:
        pauses.add_points(owner, method)
    worker.main([pauses])


if __name__ == "__main__":
    main()
