"""Jobs for trying schedules: one that ends at once, one that waits to be told."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TypeVar

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError
from temporalio.worker import Worker

from commerce.messages.base import ProcessInput
from starter.schedules.table import ScheduledJob

T = TypeVar("T")
QUEUE = "clockwork"
NOMINAL = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


class NoOptions(ProcessInput):
    """The input of a job that takes none."""


@workflow.defn(name="trial-nightly", sandboxed=False)
class Nightly:
    """Tells the time that it was meant for."""

    @workflow.run
    async def run(self, _options: NoOptions) -> datetime:
        nominal = workflow.info().typed_search_attributes.get(NOMINAL)
        assert nominal is not None
        return nominal


@workflow.defn(name="trial-waiting", sandboxed=False)
class Waiting:
    """Runs until it is told to end."""

    def __init__(self) -> None:
        self.told = False

    @workflow.signal
    def end(self) -> None:
        self.told = True

    @workflow.run
    async def run(self, _options: NoOptions) -> None:
        await workflow.wait_condition(lambda: self.told)


NIGHTLY = ScheduledJob("trial-nightly", "0 1 * * *", "UTC", timedelta(hours=1), "Counts sheep", queue=QUEUE)
WAITING = ScheduledJob("trial-waiting", "0 2 * * *", "UTC", timedelta(hours=1), "Waits", queue=QUEUE)


def worker(client: Client) -> Worker:
    return Worker(client, task_queue=QUEUE, workflows=[Nightly, Waiting])


async def until(ask: Callable[[], Awaitable[T | None]], seconds: float = 60) -> T:
    """Ask until there is an answer: what is listed lags behind."""
    deadline = time.monotonic() + seconds
    while (answer := await ask()) is None:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    return answer


async def forget(client: Client, *ids: str) -> None:
    """Delete schedules, and end what they started."""
    for schedule_id in ids:
        with suppress(RPCError):  # it never was
            await client.get_schedule_handle(schedule_id).delete()
        async for run in client.list_workflows(f"WorkflowType = '{schedule_id}' AND ExecutionStatus = 'Running'"):
            with suppress(RPCError):  # it has ended meanwhile
                await client.get_workflow_handle(run.id).terminate()
