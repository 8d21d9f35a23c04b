"""Job: a process that works in batches, retries after errors, and alerts the admins when it fails."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutType, is_cancelled_exception
from temporalio.exceptions import TimeoutError as ActivityTimeout

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe, surface
    from activities.jobs import JobActivities
    from commerce.errors import BadInput, DatabaseUnavailable, JobInProgress
    from commerce.messages.base import Message, Nothing
    from commerce.messages.jobs import JobInput, JobRun, JobState
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress, StepProgress
    from commerce.messages.steps import Begin, Call, StepKey
    from workflows.engine.alerts import alert_admins, run_key
    from workflows.engine.calls import Method, execute, name_of, note_of
    from workflows.engine.cancellation import CANCEL_OR_FAILURE
    from workflows.engine.policies import BATCH, Policy
    from workflows.engine.search_attributes import clear_copied_attributes, publish_failed_step, publish_state

T = TypeVar("T")
InputT = TypeVar("InputT", bound=Message)
StateT = TypeVar("StateT", bound=JobState)

MAX_ERRORS = 3  # of a whole job (J2); a batch whose worker or database was lost is no error
PAUSE = timedelta(seconds=5)  # between two tries
MAX_PAUSE = timedelta(minutes=5)  # between two tries while the database is unavailable
TURN_PAUSE = timedelta(seconds=30)  # between two looks at whether another run of the job has ended
MAX_LOST_WORKERS = 20  # in a row at one batch; then the cause must be something else
WORKER_SHUTDOWN = "WorkerShutdown"  # the failure type of an activity that a stopping worker abandons
MAX_HISTORY_EVENTS = 2_000  # then the job continues as a new run
NOMINAL_TIME = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")


class Job:
    """One run of a job: use it as `async with Job(step) as job`, call `begin`, then `batch` or `run_batches`."""

    def __init__(self, *steps: Method, alert: str = "job-failure", waits: bool = False) -> None:
        """Create a job whose progress shows `steps`; `alert` is the kind of alert that the admins get if it fails.

        While another run of the job is at work, a run that `waits` does so until that has ended. Others fail.
        """
        self.progress = Progress(steps=[StepProgress(name=name_of(step)) for step in steps])
        self._alert, self._waits = alert, waits

    async def __aenter__(self) -> "Job":
        clear_copied_attributes()
        publish_state(self.progress, "running")
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is None:
            publish_state(self.progress, "completed")
        elif isinstance(error, CANCEL_OR_FAILURE):
            publish_state(self.progress, "failed")
            if not is_cancelled_exception(error):
                if not cause(error, JobInProgress):  # the other run does the work
                    publish_failed_step(self.progress)
                    if not _is_callers_mistake(error):
                        await self._alert_admins(error)
                if (top := surface(error)) is not error:
                    raise top

    async def begin(self, resume: JobState | None) -> JobRun:
        """Start the job, or take it over from the run that continued as this one; returns what all its runs share.

        Raises ActivityError, caused by JobInProgress if another run of the job is at work.
        """
        if resume:
            self._run = resume.run
            return self._run
        info = workflow.info()
        nominal = info.typed_search_attributes.get(NOMINAL_TIME) or info.workflow_start_time
        self._run = JobRun(generation=info.original_execution_run_id, nominal=nominal)
        call: Begin[Nothing] = Begin(key=self._key("begin-job"), input=Nothing(), started_at=info.workflow_start_time)
        while other := await self._try_to_begin(call):
            self.progress.steps[0].note = f"waits until {other.process} ends"
            publish_state(self.progress, "running")
            await workflow.sleep(TURN_PAUSE)
        self.progress.steps[0].note = ""
        _raise_if_cancelled()
        return self._run

    async def _try_to_begin(self, call: Begin[Nothing]) -> JobInProgress | None:
        """Begin, or return the other run that this one must wait for. Raises ActivityError if it does not wait."""
        try:
            await self._retry(lambda: execute(JobActivities.begin, call, BATCH))
        except ActivityError as failure:
            other = cause(failure, JobInProgress)
            if other is None or not self._waits:
                raise
            return other
        return None

    @property
    def generation(self) -> str:
        """The generation of this job: it is the same in every run that the job continues as."""
        return self._run.generation

    async def batch(
        self, step: Callable[[Any, Call[InputT]], Awaitable[T]], value: InputT, policy: Policy = BATCH
    ) -> T:
        """Do one batch, which is a step of the ledger, and return its answer. Errors are retried, see MAX_ERRORS."""
        self._run = self._run.model_copy(update={"batches": self._run.batches + 1})
        call: Call[InputT] = Call(key=self._key(f"{name_of(step)}/{self._run.batches}"), input=value)
        shown = self.progress.step(name_of(step))
        shown.state, shown.scheduled_at = "running", shown.scheduled_at or workflow.now()
        try:
            answer = await self._retry(lambda: execute(step, call, policy), shown)
        except CANCEL_OR_FAILURE as failure:
            shown.state, shown.ended_at, shown.error = "failed", workflow.now(), describe(failure)
            raise
        shown.state, shown.ended_at, shown.note, shown.error = "done", workflow.now(), note_of(answer), None
        _raise_if_cancelled()  # a batch that succeeds despite the cancel swallows it
        return answer

    async def run_batches(
        self, request: JobInput, state: StateT, batch: Callable[[StateT], Awaitable[tuple[StateT, bool]]]
    ) -> StateT:
        """Run batches until the last one, and return the state it leaves.

        `batch` gets the state that the previous one left, and returns its own and whether it was the last. When the
        history grows long, the job continues as a new run of `request` that resumes at this state.
        """
        while True:
            state, is_last = await batch(state)
            self.progress.steps[0].note = state.counts.summary()
            publish_state(self.progress, "running")
            if is_last:
                return state
            if self._has_long_history():
                resume = state.model_copy(update={"run": self._run})
                workflow.continue_as_new(request.model_copy(update={"resume": resume}))

    def _has_long_history(self) -> bool:
        info = workflow.info()
        return info.is_continue_as_new_suggested() or info.get_current_history_length() > MAX_HISTORY_EVENTS

    def _key(self, step: str) -> StepKey:
        return StepKey(business_key=workflow.info().workflow_id, step=step, generation=self._run.generation)

    async def _retry(self, attempt: Callable[[], Awaitable[T]], shown: StepProgress | None = None) -> T:
        lost, pause = 0, PAUSE
        while True:
            try:
                return await attempt()
            except ActivityError as failure:
                lost = lost + 1 if _worker_was_lost(failure) else 0
                if is_cancelled_exception(failure) or cause(failure, JobInProgress) or lost == MAX_LOST_WORKERS:
                    raise
                if shown:
                    shown.error = describe(failure)
                waits = _database_was_unavailable(failure) and workflow.patched("jobs-wait-for-the-database")
                if not waits and not lost and not self._count_error(failure):
                    raise
            _raise_if_cancelled()
            await workflow.sleep(pause)
            pause = min(pause * 2, MAX_PAUSE) if waits else PAUSE

    def _count_error(self, failure: ActivityError) -> bool:
        """Count an error of the job and return whether to try again."""
        self._run = self._run.model_copy(update={"errors": self._run.errors + 1})
        permanent = isinstance(failure.cause, ApplicationError) and failure.cause.non_retryable
        return not permanent and self._run.errors < MAX_ERRORS

    async def _alert_admins(self, error: BaseException) -> None:
        info = workflow.info()
        await alert_admins(
            Alert(
                kind=self._alert,
                key=f"{self._alert}/{info.workflow_id}/{run_key()}",
                message=f"The job {info.workflow_type} failed",
                job_name=info.workflow_type,
                error=describe(error),
            )
        )


def _is_callers_mistake(error: BaseException) -> bool:
    """Return whether the job failed because its input is invalid, and has a caller who gets that error."""
    has_caller = workflow.info().typed_search_attributes.get(NOMINAL_TIME) is None  # otherwise a schedule started it
    return cause(error, BadInput) is not None and has_caller and workflow.patched("no-alert-for-bad-input")


def _worker_was_lost(failure: ActivityError) -> bool:
    """Return whether the batch ended because its worker died or stopped, not because of an error of its own."""
    cause = failure.cause
    silent = isinstance(cause, ActivityTimeout) and cause.type == TimeoutType.HEARTBEAT
    return silent or (isinstance(cause, ApplicationError) and cause.type == WORKER_SHUTDOWN)


def _database_was_unavailable(failure: ActivityError) -> bool:
    cause = failure.cause
    return isinstance(cause, ApplicationError) and cause.type == DatabaseUnavailable.__name__


def _raise_if_cancelled() -> None:
    if workflow.cancellation_reason() is not None:
        raise asyncio.CancelledError
