"""Two small jobs for tests of schedules: one ends at once, one waits for a signal."""

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow
from temporalio.client import Client
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError
from temporalio.worker import Worker

from commerce.messages.base import ProcessInput
from starter.schedules.table import ScheduledJob

QUEUE = "sample-jobs"
NOMINAL_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


class NoOptions(ProcessInput):
    """The input of a job without options."""


@workflow.defn(name="sample-nightly", sandboxed=False)
class Nightly:
    """Returns its nominal time."""

    @workflow.run
    async def run(self, _options: NoOptions) -> datetime:
        nominal = workflow.info().typed_search_attributes.get(NOMINAL_TIME)
        assert nominal is not None
        return nominal


@workflow.defn(name="sample-waiting", sandboxed=False)
class Waiting:
    """Runs until it receives the signal `end`."""

    def __init__(self) -> None:
        self.ended = False

    @workflow.signal
    def end(self) -> None:
        self.ended = True

    @workflow.run
    async def run(self, _options: NoOptions) -> None:
        await workflow.wait_condition(lambda: self.ended)


NIGHTLY = ScheduledJob("sample-nightly", "0 1 * * *", "UTC", timedelta(hours=1), "Counts sheep", queue=QUEUE)
WAITING = ScheduledJob("sample-waiting", "0 2 * * *", "UTC", timedelta(hours=1), "Waits", queue=QUEUE)


def worker(client: Client) -> Worker:
    return Worker(client, task_queue=QUEUE, workflows=[Nightly, Waiting])


async def delete_schedules(client: Client, *ids: str) -> None:
    """Delete schedules, and terminate the runs that they started."""
    for schedule_id in ids:
        with suppress(RPCError):  # the test did not create it
            await client.get_schedule_handle(schedule_id).delete()
        async for run in client.list_workflows(f"WorkflowType = '{schedule_id}' AND ExecutionStatus = 'Running'"):
            with suppress(RPCError):  # it has ended in the meantime
                await client.get_workflow_handle(run.id).terminate()
