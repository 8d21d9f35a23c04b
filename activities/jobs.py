"""The first step of every job: only one run of a job works at a time."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.client import WorkflowExecutionStatus

from activities.boundary.generations import begin, latest_run
from commerce import job_turns
from commerce.database import Database
from commerce.errors import JobInProgress
from commerce.job_turns import Turn
from commerce.messages.base import Nothing
from commerce.messages.steps import Begin


class JobActivities:
    """Begin jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="begin-job")
    async def begin(self, call: Begin[Any]) -> Nothing:
        """Make this run the one that works, unless another run of its job is at work.

        Raises JobInProgress if one is, also if that run was started by hand or waits for a worker. A run that has ended
        in any way is not at work; Temporal knows.
        """
        job = activity.info().workflow_type
        assert job is not None
        turn = Turn(call.key.business_key, call.key.generation)
        ended: Turn | None = None
        while True:

            async def take(tx: AsyncSession, ended: Turn | None = ended) -> Turn | None:
                return await job_turns.take(tx, job, turn, ended=ended)

            other = await begin(self._database, call.key, take)
            if other is None:
                return Nothing()
            # If that run's process begins anew after this answer, its turn is another one, and stays.
            if other.process != turn.process and await _is_open(other.process):
                raise JobInProgress(job, other.process)
            ended = other


async def _is_open(process: str) -> bool:
    latest = await latest_run(process)
    return latest is not None and latest.status == WorkflowExecutionStatus.RUNNING
