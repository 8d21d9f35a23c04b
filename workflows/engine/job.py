"""A scheduled job: batch after batch, tried again after errors; when it fails admins are told and the run is Failed."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as NoAnswer

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe, surface
    from activities.jobs import JobActivities
    from commerce.messages.base import Message, Nothing
    from commerce.messages.jobs import Counts, JobRun
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress, StepProgress
    from commerce.messages.steps import Begin, Call, StepKey
    from workflows.engine.alerts import alert_admins
    from workflows.engine.calls import execute, name_of, note_of
    from workflows.engine.cancellation import STOPPED
    from workflows.engine.policies import BATCH, Policy
    from workflows.engine.search_attributes import FAILED_STEP, show_state

T = TypeVar("T")
InputT = TypeVar("InputT", bound=Message)

TRIES = 3  # errors of a whole job; what a lost worker left without an answer is no error (J2)
PAUSE = timedelta(seconds=5)
LOST = 20  # attempts in a row without any answer: then something else is wrong
GIVEN_UP = "WorkerShutdown"  # how the SDK names what a worker breaks off because it is to stop
LONG = 2_000  # events of a history
NOMINAL = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


class Job:
    """One run of a job; used as `async with Job(step) as job`, begun or resumed, then batch after batch."""

    def __init__(self, *steps: Callable[..., Awaitable[Any]], alert: str = "job-failure") -> None:
        """Take the steps that progress shows, and the kind of alert that admins get when it fails."""
        self.progress = Progress(steps=[StepProgress(name=name_of(step)) for step in steps])
        self._alert = alert

    async def __aenter__(self) -> "Job":
        show_state(self.progress, "running")
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            show_state(self.progress, "completed")
        elif isinstance(error, STOPPED):
            show_state(self.progress, "failed")
            if not is_cancelled_exception(error):
                await self._tell_admins(error)
                if (top := surface(error)) is not error:
                    raise top

    async def begin(self, resumed: JobRun | None) -> JobRun:
        """Begin the job, or go on with the one that was continued as this run; its batches are done once by this."""
        info = workflow.info()
        if resumed:
            self._run = resumed
            return resumed
        nominal = info.typed_search_attributes.get(NOMINAL) or info.workflow_start_time
        self._run = JobRun(generation=info.original_execution_run_id, nominal=nominal)
        call: Begin[Nothing] = Begin(key=self._key("begin-job"), input=Nothing(), started_at=info.workflow_start_time)
        await self._persist(lambda: execute(JobActivities.begin, call, BATCH))
        _stop_if_cancelled()
        return self._run

    @property
    def run(self) -> JobRun:
        """What the next run of Temporal's has to know to go on."""
        return self._run

    async def batch(
        self, step: Callable[[Any, Call[InputT]], Awaitable[T]], value: InputT, policy: Policy = BATCH
    ) -> T:
        """Do one batch, a step of the ledger; it is tried again after errors, up to three in the whole job."""
        self._run = self._run.model_copy(update={"batches": self._run.batches + 1})
        call: Call[InputT] = Call(key=self._key(f"{name_of(step)}/{self._run.batches}"), input=value)
        shown = self.progress.step(name_of(step))
        shown.state, shown.scheduled_at = "running", shown.scheduled_at or workflow.now()
        try:
            answer = await self._persist(lambda: execute(step, call, policy), shown)
        except STOPPED as failure:
            shown.state, shown.ended_at, shown.error = "failed", workflow.now(), describe(failure)
            raise
        shown.state, shown.ended_at, shown.note, shown.error = "done", workflow.now(), note_of(answer), None
        _stop_if_cancelled()  # it ended well in spite of the cancel, which nothing else would hear of
        return answer

    def tell(self, counts: Counts) -> None:
        """Show how far it has come."""
        self.progress.steps[0].note = counts.note()
        show_state(self.progress, "running")

    def is_long(self) -> bool:
        """Whether the history has become long enough to go on as a new run."""
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() > LONG

    def _key(self, step: str) -> StepKey:
        return StepKey(business_key=workflow.info().workflow_id, step=step, generation=self._run.generation)

    async def _persist(self, attempt: Callable[[], Awaitable[T]], shown: StepProgress | None = None) -> T:
        lost = 0
        while True:
            try:
                return await attempt()
            except ActivityError as failure:
                lost = lost + 1 if _is_lost(failure) else 0
                if is_cancelled_exception(failure) or lost == LOST or not (lost or self._may_go_on(failure)):
                    raise
                if shown:
                    shown.error = describe(failure)
            _stop_if_cancelled()
            await workflow.sleep(PAUSE)

    def _may_go_on(self, failure: ActivityError) -> bool:
        """Count an error, and say whether it may be mended by trying again."""
        self._run = self._run.model_copy(update={"errors": self._run.errors + 1})
        permanent = isinstance(failure.cause, ApplicationError) and failure.cause.non_retryable
        return not permanent and self._run.errors < TRIES

    async def _tell_admins(self, error: BaseException) -> None:
        if failed := [step.name for step in self.progress.steps if step.state == "failed"]:
            workflow.upsert_search_attributes([FAILED_STEP.value_set(failed[-1])])
        info = workflow.info()
        await alert_admins(
            Alert(
                kind=self._alert,
                key=f"{self._alert}/{info.workflow_id}/{self._run.generation}",
                message=f"The job {info.workflow_type} failed",
                job_name=info.workflow_type,
                error=describe(error),
            )
        )


def _is_lost(failure: ActivityError) -> bool:
    """Whether the worker was lost amid a step, or was stopped and gave it up: the step itself has no fault."""
    cause = failure.cause
    silent = isinstance(cause, NoAnswer) and cause.type == TimeoutType.HEARTBEAT
    return silent or (isinstance(cause, ApplicationError) and cause.type == GIVEN_UP)


def _stop_if_cancelled() -> None:
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError
