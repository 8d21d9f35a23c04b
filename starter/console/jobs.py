"""Jobs: their schedules with what the last runs have done, and how to run, pause and resume them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import ValidationError
from starlette.responses import Response
from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError

from commerce.errors import BadInput, MissingKey
from commerce.messages.base import FieldError, field_errors
from commerce.messages.schedules import JobSchedule, Period, ScheduledRun
from starter.api.callers import Role, requires
from starter.api.parameters import MAX_ID_LENGTH
from starter.api.personal_data import schedule_for
from starter.console.listing import process_path, who
from starter.console.sessions import PATH
from starter.console.views import View, ViewDep
from starter.schedules import actions
from starter.schedules.actions import COUNTS_DAYS
from starter.schedules.queries import load_schedule
from starter.schedules.table import scheduled_jobs

SHOWN_COUNTS = 6  # of a run
RESULT_SECONDS = 1
SHOWN_RUNS = 5  # of a job
DAYS_RULE = "must be days like 2026-03-01, both of them"
JOBS = f"{PATH}/jobs"

routes = APIRouter(prefix="/jobs")
JobId = Annotated[str, Path(max_length=MAX_ID_LENGTH)]


@dataclass(frozen=True)
class LastRun:
    """A run of a job; `counts` are the numbers of its result by name, none while it runs or if it has failed."""

    run: ScheduledRun
    counts: Mapping[str, int]

    @property
    def path(self) -> str:
        """The path of the page of its process."""
        return process_path(self.run.process)


@dataclass(frozen=True)
class Job:
    """A schedule, and the last runs of its job, latest first."""

    schedule: JobSchedule
    description: str
    runs: list[LastRun]


@routes.get("", dependencies=[requires(Role.viewer)])
async def show_jobs(view: ViewDep) -> Response:
    """Show all jobs."""
    client = await view.temporal()
    schedules = await actions.list_schedules_with_reasons(client, view.database)
    notes = {job.id: job.note for job in scheduled_jobs(view.settings)}
    jobs = await asyncio.gather(
        *(_job(client, schedule_for(view.caller, schedule), notes.get(schedule.id, "")) for schedule in schedules)
    )
    return view.render("jobs.html.j2", jobs=jobs, counts_days=COUNTS_DAYS)


@routes.post("/{job}/trigger", dependencies=[requires(Role.operator)])
async def trigger(view: ViewDep, job: JobId) -> Response:
    """Run a job now."""
    await actions.trigger(await view.temporal(), job, database=view.database, actor=view.caller.name)
    return view.redirect(JOBS, f"{job} runs.")


@routes.post("/{job}/pause", dependencies=[requires(Role.operator)])
async def pause(view: ViewDep, job: JobId) -> Response:
    """Pause a schedule."""
    await actions.pause(await view.temporal(), view.database, job, **who(view))
    return view.redirect(JOBS, f"{job} is paused.")


@routes.post("/{job}/resume", dependencies=[requires(Role.operator)])
async def resume(view: ViewDep, job: JobId) -> Response:
    """Resume a paused schedule."""
    await actions.resume(await view.temporal(), view.database, job, **who(view))
    return view.redirect(JOBS, f"{job} runs on schedule again.")


@routes.post("/{job}/backfill", dependencies=[requires(Role.operator)])
async def backfill(view: ViewDep, job: JobId) -> Response:
    """Run a job for past days: those of its times, or those that it counts."""
    start, end = _backfill_period(view, job)
    times = await actions.backfill(
        await view.temporal(), job, start, end, database=view.database, actor=view.caller.name
    )
    runs = f"{len(times)} runs" if len(times) != 1 else "1 run"
    return view.redirect(JOBS, f"{runs} of {job}, one after the other.")


async def last_run_of(client: Client, job: str) -> LastRun | None:
    """Return the last run that a job's schedule has started. Raises ScheduleNotFound, Unreachable."""
    runs = (await load_schedule(client, job)).last_runs
    return await _last_run(client, runs[-1]) if runs else None


def _backfill_period(view: View, job: str) -> tuple[Any, Any]:
    first, last = view.form.get("first"), view.form.get("last")
    if job == COUNTS_DAYS:
        try:
            return actions.counting_period(job, date.fromisoformat(first), date.fromisoformat(last))
        except (ValueError, OverflowError):
            raise BadInput([FieldError(field="days", message=DAYS_RULE)]) from None
    try:
        period = Period.model_validate({"from": first, "to": last})
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None
    return period.start, period.end


async def _job(client: Client, schedule: JobSchedule, description: str) -> Job:
    last = reversed(schedule.last_runs[-SHOWN_RUNS:])
    runs = await asyncio.gather(*(_last_run(client, run) for run in last))
    return Job(schedule, description, list(runs))


async def _last_run(client: Client, run: ScheduledRun) -> LastRun:
    """Return a run with the counts of its result, without them if Temporal does not have it any more."""
    if run.status != "completed":
        return LastRun(run, {})
    try:
        async with asyncio.timeout(RESULT_SECONDS):  # a newer run under this id may not have ended
            result = await client.get_workflow_handle(run.process).result()
    except (WorkflowFailureError, RPCError, MissingKey, TimeoutError):
        return LastRun(run, {})
    fields = result.items() if isinstance(result, dict) else ()
    counts = {name: value for name, value in fields if isinstance(value, int) and not isinstance(value, bool)}
    return LastRun(run, dict(list(counts.items())[:SHOWN_COUNTS]))
