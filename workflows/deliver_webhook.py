"""Deliver one event to one webhook endpoint: in order, and retried for up to three days.

The deliveries of one aggregate's events to one endpoint form a chain: each waits until the one before it has ended,
successfully or not, before it posts. Other chains do not wait, and this one waits three days at most.
"""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import NoReturn

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import surface
    from activities.webhooks import WebhookActivities
    from commerce.messages.progress import Progress
    from commerce.messages.webhooks import Delivered, WebhookDelivery
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.policies import Policy
    from workflows.engine.saga import Saga
    from workflows.engine.signals import raise_cancel, send_signal

TOTAL_TIME = timedelta(days=3)  # from the start of the run, including the wait for the previous delivery
MIN_POST_TIME = timedelta(minutes=1)  # for posting, even if that wait used up the total time
# Retries after 5, 10, 20 … seconds, in the end twice a day.
POST = Policy(
    attempt=timedelta(seconds=20),
    deadline=TOTAL_TIME,
    retry=RetryPolicy(initial_interval=timedelta(seconds=5), maximum_interval=timedelta(hours=12)),
)
RECHECK = timedelta(hours=1)  # how often to ask whether the previous delivery runs: a terminated one sends no signal


@workflow.defn(name="deliver-webhook")
class DeliverWebhookWorkflow:
    """One event, one endpoint, one process: its id is `deliver-webhook-<endpoint id>-<event id>`."""

    def __init__(self) -> None:
        self._saga = Saga((WebhookActivities.post,))
        self._previous_ended = False
        self._waiting: list[str] = []  # ids of the deliveries that wait for the end of this one

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the delivery."""
        return self._saga.progress

    @workflow.signal(name="follow")
    def follow(self, process_id: str) -> None:
        """Receive, from the next delivery of the chain, that it waits for the end of this one."""
        if process_id not in self._waiting:
            self._waiting.append(process_id)

    @workflow.signal(name="go")
    def go(self) -> None:
        """Receive, from the previous delivery of the chain, that it has ended."""
        self._previous_ended = True

    @workflow.run
    async def run(self, request: WebhookDelivery) -> Delivered:
        """Deliver the event. The run fails if the receiver does not accept it within three days."""
        try:
            delivered = await self._deliver(request)
        except CANCEL_OR_FAILURE as failure:
            await self._fail(failure)
        await uninterrupted(self._release_waiting())
        return delivered

    async def _fail(self, failure: BaseException) -> NoReturn:
        await uninterrupted(self._release_waiting())
        raise surface(failure)

    async def _deliver(self, request: WebhookDelivery) -> Delivered:
        async with self._saga as saga:
            if request.previous_process_id:
                await self._wait_for(request.previous_process_id)
            policy = replace(POST, deadline=max(_time_left(), MIN_POST_TIME))
            return await saga.step(WebhookActivities.post, request, policy=policy)

    async def _wait_for(self, process_id: str) -> None:
        """Wait until the previous delivery has ended or the total time is over; then this event is posted anyway."""
        while (
            not self._previous_ended
            and _time_left() > timedelta(0)
            and await send_signal(process_id, "follow", workflow.info().workflow_id)
        ):
            raise_cancel()
            with suppress(asyncio.TimeoutError):
                await workflow.wait_condition(
                    lambda: self._previous_ended,
                    timeout=min(RECHECK, max(_time_left(), MIN_POST_TIME)),
                    timeout_summary=f"Wait for {process_id}",
                )

    async def _release_waiting(self) -> None:
        while self._waiting:
            await send_signal(self._waiting.pop(), "go")


def _time_left() -> timedelta:
    """Return how much of the total time is left."""
    return TOTAL_TIME - (workflow.now() - workflow.info().workflow_start_time)
