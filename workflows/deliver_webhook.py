"""One event on its way to one webhook: posted until its receiver has it, for days if need be, and in order.

The deliveries of one aggregate's events to one endpoint form a chain: each lets the one before it end, well or badly,
before it posts. Nobody else waits for them, and one that is given up after three days holds up no longer.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import surface
    from activities.webhooks import WebhookActivities
    from commerce.messages.progress import Progress
    from commerce.messages.webhooks import Delivered, WebhookDelivery
    from workflows.engine.cancellation import STOPPED, uninterrupted
    from workflows.engine.policies import Policy
    from workflows.engine.saga import Saga

DAYS = timedelta(days=3)  # from its start on, what it waits for others included
LAST_TRY = timedelta(minutes=1)
# After 5, 10, 20 … seconds, later twice a day.
POST = Policy(
    attempt=timedelta(seconds=20),
    deadline=DAYS,
    retry=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(hours=12)),
)
PATIENCE = timedelta(hours=1)  # until the one before is asked again: one that was terminated tells nobody


@workflow.defn(name="deliver-webhook")
class DeliverWebhookWorkflow:
    """One event, one endpoint, one process: its id is `deliver-webhook-<endpoint id>-<event id>`."""

    def __init__(self) -> None:
        self._saga = Saga((WebhookActivities.post,))
        self._may_go = False
        self._followers: list[str] = []

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell where the delivery stands."""
        return self._saga.progress

    @workflow.signal(name="follow")
    def follow(self, process_id: str) -> None:
        """Remember that this delivery waits for our end."""
        if process_id not in self._followers:
            self._followers.append(process_id)

    @workflow.signal(name="go")
    def go(self) -> None:
        """Hear that the delivery before has ended."""
        self._may_go = True

    @workflow.run
    async def run(self, request: WebhookDelivery) -> Delivered:
        """Deliver the event; one that its receiver does not take within three days is a failure."""
        try:
            delivered = await self._deliver(request)
        except STOPPED as failure:
            await self._fail(failure)
        await uninterrupted(self._let_go())
        return delivered

    async def _fail(self, failure: BaseException) -> NoReturn:
        await uninterrupted(self._let_go())
        raise surface(failure)

    async def _deliver(self, request: WebhookDelivery) -> Delivered:
        async with self._saga as saga:
            if request.process_before:
                await self._wait_for(request.process_before)
            policy = replace(POST, deadline=max(_left(), LAST_TRY))
            return await saga.step(WebhookActivities.post, request, policy=policy)

    async def _wait_for(self, process_id: str) -> None:
        """Wait for its end, but not beyond our own three days: then this event is posted all the same."""
        while (
            not self._may_go
            and _left() > timedelta(0)
            and await _tell(process_id, "follow", workflow.info().workflow_id)
        ):
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(
                    lambda: self._may_go,
                    timeout=min(PATIENCE, max(_left(), LAST_TRY)),
                    timeout_summary=f"Let {process_id} end",
                )

    async def _let_go(self) -> None:
        while self._followers:
            await _tell(self._followers.pop(), "go")


def _left() -> timedelta:
    """Return how long this delivery may still take."""
    return DAYS - (workflow.now() - workflow.info().workflow_start_time)


async def _tell(process_id: str, signal: str, *words: str) -> bool:
    """Tell another delivery something; returns whether it still runs."""
    try:
        await workflow.get_external_workflow_handle(process_id).signal(signal, args=words)
    except FailureError as failure:
        if is_cancelled_exception(failure):
            raise
        return False
    return True
