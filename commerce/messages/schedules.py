"""What operators see of the jobs that run by the clock, and what they may ask of them."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from commerce.messages.base import Message


class ScheduledRun(Message):
    """A run that a schedule has started; `status` as Temporal has it: running, completed, failed, canceled …"""

    nominal_time: datetime
    started_at: datetime
    process: str
    run_id: str
    status: str


class JobSchedule(BaseModel, frozen=True):
    """A job as it is scheduled: runs in order of time, all times with their offset from UTC.

    `cron` is empty where somebody has set other times by hand; a paused schedule has no next runs.
    """

    id: str
    cron: str
    zone: str
    paused: bool
    note: str
    next_runs: list[datetime]
    last_runs: list[ScheduledRun]
    running: list[str]


class ApplyResult(Message):
    """What became of the schedules when they were applied, by id; orphans are ours but no job wants them any more."""

    created: list[str]
    updated: list[str]
    unchanged: list[str]
    orphans: list[str]


def _moment(value: object) -> object:
    """Read a day, or a time that says its offset from UTC."""
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        time = _time(value)
    if time is None or time.tzinfo is None:
        raise ValueError("must be a day like 2026-03-01, or a time with its offset like 2026-03-01T06:00+01:00")
    return time


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


Moment = Annotated[date | datetime, BeforeValidator(_moment)]


class Span(Message):
    """The nominal times in [from, to) that a job is to be run for; a day begins at midnight in the job's zone."""

    start: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
