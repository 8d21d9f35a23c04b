"""The jobs that run by the clock, over HTTP: list, trigger, pause, resume, backfill."""

from datetime import date, datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict, Field, field_validator

from commerce.messages.schedules import JobSchedule, Span
from starter.api import schedule_examples as examples
from starter.api.backends import ShopDatabase, Temporal
from starter.api.bodies import ACTOR, AWAY, LONGEST_ID, GivenReason
from starter.api.errors import within
from starter.schedules import actions, queries

FIRST_YEAR, LAST_YEAR = 1970, 2999  # what calendars and Temporal can reckon with

routes = APIRouter(prefix="/schedules", tags=["schedules"], responses=AWAY)
ScheduleId = Annotated[
    str, Path(min_length=1, max_length=LONGEST_ID, description="The job", examples=["sync-inventory"])
]


class Schedules(BaseModel):
    """Every job."""

    schedules: list[JobSchedule]


class Triggered(BaseModel):
    """A job that runs now."""

    id: str
    transaction_id: str | None = Field(description="The process; null where Temporal has not told it yet")


class Switched(BaseModel):
    """A job that was paused or resumed."""

    id: str
    paused: bool
    reason: str


class Backfill(Span):
    """The nominal times in [from, to): days of the job's zone, or times with their offset from UTC."""

    model_config = ConfigDict(json_schema_extra={"example": {"from": "2026-03-01", "to": "2026-03-08"}})

    @field_validator("start", "end")
    @classmethod
    def _is_ours(cls, value: date) -> date:
        if not FIRST_YEAR <= value.year <= LAST_YEAR:
            raise ValueError(f"must be between {FIRST_YEAR} and {LAST_YEAR}")
        return value


class Backfilled(BaseModel):
    """A job that runs for times gone by."""

    id: str
    nominal_times: list[datetime]


@routes.get("", responses=examples.SCHEDULES)
async def list_schedules(temporal: Temporal, database: ShopDatabase) -> Schedules:
    """List the jobs: when they run, their next and last runs, and why one is paused."""
    return Schedules(schedules=await queries.list_schedules_with_reasons(temporal, database))


@routes.post("/{schedule_id}/trigger", status_code=HTTPStatus.ACCEPTED, responses=examples.TRIGGERED)
async def trigger(schedule_id: ScheduleId, temporal: Temporal) -> Triggered:
    """Run a job now, be it paused or not."""
    return Triggered(id=schedule_id, transaction_id=await actions.trigger(temporal, schedule_id))


@routes.post("/{schedule_id}/pause", responses=examples.PAUSED)
async def pause(schedule_id: ScheduleId, temporal: Temporal, database: ShopDatabase, why: GivenReason) -> Switched:
    """Let a job start no more by the clock; again: no more than another reason."""
    await actions.pause(temporal, database, schedule_id, reason=why.reason, actor=ACTOR)
    return Switched(id=schedule_id, paused=True, reason=why.reason)


@routes.post("/{schedule_id}/resume", responses=examples.RESUMED)
async def resume(schedule_id: ScheduleId, temporal: Temporal, database: ShopDatabase, why: GivenReason) -> Switched:
    """Let a job start by the clock again."""
    await actions.resume(temporal, database, schedule_id, reason=why.reason, actor=ACTOR)
    return Switched(id=schedule_id, paused=False, reason=why.reason)


@routes.post("/{schedule_id}/backfill", status_code=HTTPStatus.ACCEPTED, responses=examples.BACKFILLED)
async def backfill(schedule_id: ScheduleId, temporal: Temporal, span: Backfill) -> Backfilled:
    """Run a job for times gone by, one after the other; it may be paused. Times to come are left to the schedule."""
    with within("body"):
        times = await actions.backfill(temporal, schedule_id, span.start, span.end)
    return Backfilled(id=schedule_id, nominal_times=times)
