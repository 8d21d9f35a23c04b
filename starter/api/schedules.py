"""Schedules of jobs over HTTP: list, trigger, pause, resume, backfill."""

from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import ConfigDict, Field, field_validator

from commerce.messages.schedules import JobSchedule, Period
from starter.api import schedule_examples as examples
from starter.api.backends import ClientDep, DatabaseDep
from starter.api.callers import CallerDep, Role, requires
from starter.api.errors import COMMON_ERRORS, prefix_field_errors
from starter.api.parameters import MAX_ID_LENGTH, ReasonBody, ResponseBody
from starter.api.personal_data import schedule_for
from starter.schedules import actions

FIRST_YEAR, LAST_YEAR = 1970, 2999  # the range that Temporal can handle

routes = APIRouter(prefix="/schedules", tags=["schedules"], responses=COMMON_ERRORS)
ScheduleId = Annotated[
    str,
    Path(
        min_length=1,
        max_length=MAX_ID_LENGTH,
        description="The schedule id: the name of its job",
        examples=["sync-inventory"],
    ),
]


class ScheduleList(ResponseBody):
    """All schedules."""

    schedules: list[JobSchedule]


class Triggered(ResponseBody):
    """A job that was started now."""

    id: str
    transaction_id: str | None = Field(description="The process id; null if Temporal has not returned it yet")


class PauseState(ResponseBody):
    """A schedule that was paused or resumed."""

    id: str
    paused: bool
    reason: str


class Backfill(Period):
    """The nominal times in [from, to): days in the schedule's time zone, or times with an offset from UTC."""

    model_config = ConfigDict(json_schema_extra={"example": {"from": "2026-03-01", "to": "2026-03-08"}})

    @field_validator("start", "end")
    @classmethod
    def _check_year(cls, value: date) -> date:
        if not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise ValueError(f"must be between {FIRST_YEAR} and {LAST_YEAR}")
        return value


class Backfilled(ResponseBody):
    """A job that was started for past times."""

    id: str
    nominal_times: list[datetime]


@routes.get("", summary="List schedules", responses=examples.LIST_RESPONSES, dependencies=[requires(Role.viewer)])
async def list_schedules(temporal: ClientDep, database: DatabaseDep, caller: CallerDep) -> ScheduleList:
    """List the schedules: when they run, their next and last runs, and why one is paused, except to viewers."""
    schedules = await actions.list_schedules_with_reasons(temporal, database)
    return ScheduleList(schedules=[schedule_for(caller, schedule) for schedule in schedules])


@routes.post(
    "/{schedule_id}/trigger",
    summary="Run a job now",
    status_code=HTTPStatus.ACCEPTED,
    responses=examples.TRIGGER_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def trigger_schedule(
    schedule_id: ScheduleId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep
) -> Triggered:
    """Run a job now, even if its schedule is paused. 409 if it is already running."""
    process = await actions.trigger(temporal, schedule_id, database=database, actor=caller.name)
    return Triggered(id=schedule_id, transaction_id=process)


@routes.post(
    "/{schedule_id}/pause",
    summary="Pause a schedule",
    responses=examples.PAUSE_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def pause_schedule(
    schedule_id: ScheduleId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, body: ReasonBody
) -> PauseState:
    """Pause a schedule: its job no longer starts by itself. If it is already paused, only the reason changes."""
    await actions.pause(temporal, database, schedule_id, reason=body.reason, actor=caller.name)
    return PauseState(id=schedule_id, paused=True, reason=body.reason)


@routes.post(
    "/{schedule_id}/resume",
    summary="Resume a schedule",
    responses=examples.RESUME_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def resume_schedule(
    schedule_id: ScheduleId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, body: ReasonBody
) -> PauseState:
    """Resume a paused schedule."""
    await actions.resume(temporal, database, schedule_id, reason=body.reason, actor=caller.name)
    return PauseState(id=schedule_id, paused=False, reason=body.reason)


@routes.post(
    "/{schedule_id}/backfill",
    summary="Run a job for past times",
    status_code=HTTPStatus.ACCEPTED,
    responses=examples.BACKFILL_RESPONSES,
    dependencies=[requires(Role.operator)],
)
async def backfill_schedule(
    schedule_id: ScheduleId, temporal: ClientDep, database: DatabaseDep, caller: CallerDep, span: Backfill
) -> Backfilled:
    """Run a job for past nominal times, one after the other, even if its schedule is paused.

    Future times are ignored.
    """
    with prefix_field_errors("body"):
        times = await actions.backfill(
            temporal, schedule_id, span.start, span.end, database=database, actor=caller.name
        )
    return Backfilled(id=schedule_id, nominal_times=times)
