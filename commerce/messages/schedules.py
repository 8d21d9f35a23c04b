"""Schedules of jobs as operators see them, and the period of a backfill."""

from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field

from commerce.messages.base import Message


class ScheduledRun(Message):
    """A run that a schedule started; `status` is Temporal's: running, completed, failed, canceled …"""

    nominal_time: datetime
    started_at: datetime
    process: str
    run_id: str
    status: str


class JobSchedule(BaseModel, frozen=True, json_schema_serialization_defaults_required=True):
    """A job's schedule: its runs in chronological order, all times with their offset from UTC.

    `edited` is what someone has changed in Temporal since we applied the schedule, one sentence per part. `cron` is
    empty if these are the times. A paused schedule has no next runs.
    """

    id: str
    cron: str
    zone: str
    paused: bool
    note: str
    next_runs: list[datetime]
    last_runs: list[ScheduledRun]
    running: list[str]
    edited: list[str] = []


class ApplyResult(Message):
    """The ids of the schedules, by the effect of applying the settings.

    Those in `edited` were changed in Temporal, by these sentences, and left alone. Orphans are schedules of ours
    without a job.
    """

    created: list[str]
    updated: list[str]
    unchanged: list[str]
    edited: dict[str, list[str]]
    orphans: list[str]


def _parse_day_or_time(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        time = _parse_time(value)
    if time is None or time.tzinfo is None:
        raise ValueError("must be a day like 2026-03-01, or a time with its offset like 2026-03-01T06:00+01:00")
    return time


def _parse_time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


DayOrTime = Annotated[date | datetime, BeforeValidator(_parse_day_or_time)]


class Period(Message):
    """The period [from, to) whose nominal times a backfill runs; a day starts at midnight in the job's time zone."""

    start: DayOrTime = Field(alias="from")
    end: DayOrTime = Field(alias="to")
