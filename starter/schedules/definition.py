"""The definition of a schedule in plain words, part by part, to see what someone has changed in Temporal.

Each schedule that we apply carries its definition in the memo of its action. Temporal's UI keeps that memo when a
person edits the schedule. `temporal schedule update` replaces the whole schedule and drops it.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from copy import copy
from dataclasses import replace
from datetime import timedelta
from typing import Any

from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
)
from temporalio.converter import DataConverter

from commerce.cron import cron_text
from commerce.errors import MissingKey
from starter.connection.encryption import payload_key_id

MEMO = "commerce-definition"  # in the memo of each schedule's action
FORMER_MEMO = "commerce-fingerprint"  # of schedules that an older version applied
DAYS_IN_WEEK = 7
DEFAULT_TASK_TIMEOUT = timedelta(seconds=10)  # Temporal's UI states it, others leave it out
TIMES = "times"
REPLACED = "replaced by hand: what was applied is no longer known"

Definition = Mapping[str, str]


def define(schedule: Schedule) -> Definition:
    """Return the definition of a decoded schedule. Whether it is paused, and the note, are no part of it."""
    action, spec, policy, state = schedule.action, schedule.spec, schedule.policy, schedule.state
    assert isinstance(action, ScheduleActionStartWorkflow)  # Temporal knows no other
    times = [
        *(_calendar_text(calendar) for calendar in spec.calendars),
        *(_interval_text(interval) for interval in spec.intervals),
    ]
    attributes = {pair.key.name: pair.value for pair in action.typed_search_attributes} | dict(
        action.untyped_search_attributes
    )
    parts: Mapping[str, object] = {
        TIMES: " and ".join(times),
        "excluded times": " and ".join(_calendar_text(calendar) for calendar in spec.skip),
        "time zone": spec.time_zone_name or "UTC",
        "start": spec.start_at,
        "end": spec.end_at,
        "jitter": spec.jitter,
        "overlap policy": policy.overlap.name.lower().replace("_", " "),
        "catch-up window": policy.catchup_window,
        "pause after a failure": "yes" if policy.pause_on_failure else "no",
        "number of runs": f"{state.remaining_actions} more" if state.limited_actions else "unlimited",
        "workflow type": action.workflow,
        "workflow id": action.id,
        "task queue": action.task_queue,
        "input": ", ".join(json.dumps(value, sort_keys=True) for value in action.args),
        "summary": action.static_summary,
        "details": action.static_details,
        "search attributes": ", ".join(f"{name} {value}" for name, value in sorted(attributes.items())),
        "execution timeout": action.execution_timeout,
        "run timeout": action.run_timeout,
        "task timeout": None if action.task_timeout == DEFAULT_TASK_TIMEOUT else action.task_timeout,
        "retry policy": action.retry_policy,
        "priority": action.priority.priority_key,
    }
    return {part: str(value) for part, value in parts.items() if value}


def differences(found: Definition, applied: Definition) -> list[str]:
    """Return the parts in which a definition differs from the one that was applied, one sentence each."""
    parts = dict.fromkeys([*applied, *found])
    return [
        f"{part}: {found.get(part) or 'none'} instead of {applied.get(part) or 'none'}"
        for part in parts
        if found.get(part) != applied.get(part)
    ]


def edits(schedule: Schedule, wanted: Definition | None = None) -> list[str]:
    """Return what someone has changed in a decoded schedule since it was applied; empty if an older version applied it.

    `wanted` takes the place of what was applied if the schedule does not say so any more.
    """
    applied = applied_definition(schedule)
    if applied is None and FORMER_MEMO in action_memo(schedule):
        return []
    if applied is None and wanted is None:
        return [REPLACED]
    return differences(define(schedule), applied or wanted or {})


def has_other_times(edited: Sequence[str]) -> bool:
    """Return whether the times are among these edits."""
    return any(edit.startswith(f"{TIMES}: ") for edit in edited)


def applied_definition(schedule: Schedule) -> Definition | None:
    """Return the definition that a decoded schedule carries, or None if it has none."""
    stored = action_memo(schedule).get(MEMO)
    return stored if isinstance(stored, dict) else None


def key_id_of(schedule: Schedule) -> str | None:
    """Return the id of the key that a schedule is encrypted with, as Temporal returned it, or None if with none."""
    memo = action_memo(schedule)
    stored = memo.get(MEMO) or memo.get(FORMER_MEMO)
    return payload_key_id(stored) if isinstance(stored, Payload) else None


def action_memo(schedule: Schedule) -> Mapping[str, Any]:
    """Return the memo for the runs of a schedule: our values, or payloads if Temporal returned the schedule."""
    action = schedule.action
    return (action.memo or {}) if isinstance(action, ScheduleActionStartWorkflow) else {}


async def decode(converter: DataConverter, schedule: Schedule) -> Schedule:
    """Return a schedule that Temporal returned with values in place of payloads. Raises MissingKey."""
    action = copy(schedule.action)
    assert isinstance(action, ScheduleActionStartWorkflow)
    action.args = [await _value(converter, payload) for payload in action.args]
    action.memo = {name: await _value(converter, payload) for name, payload in action_memo(schedule).items()}
    action.static_summary = await _value(converter, action.static_summary)
    action.static_details = await _value(converter, action.static_details)
    return replace(schedule, action=action)


async def _value(converter: DataConverter, payload: Any) -> Any:
    """Return the value of a payload, None for an empty one. One that is no JSON is described."""
    if not isinstance(payload, Payload) or not payload.ByteSize():
        return None
    try:
        [value] = await converter.decode([payload])
    except MissingKey:
        raise
    except Exception as error:  # noqa: BLE001 - whatever someone has entered
        return f"unreadable ({type(error).__name__})"
    return value


def _interval_text(interval: ScheduleIntervalSpec) -> str:
    return f"every {interval.every}" + (f", {interval.offset} later" if interval.offset else "")


def _calendar_text(calendar: ScheduleCalendarSpec) -> str:
    fields = (calendar.minute, calendar.hour, calendar.day_of_month, calendar.month, calendar.day_of_week)
    minutes, hours, days, months, weekdays = (_numbers(ranges) for ranges in fields)
    text = cron_text([minutes, hours, days, months, {day % DAYS_IN_WEEK for day in weekdays}])
    seconds, years = _numbers(calendar.second), _numbers(calendar.year)
    return (
        text
        + (f" in the seconds {_listed(seconds)}" if seconds != {0} else "")
        + (f" in {_listed(years)}" if years else "")
    )


def _numbers(ranges: Sequence[ScheduleRange]) -> set[int]:
    return {
        number for given in ranges for number in range(given.start, max(given.start, given.end) + 1, max(given.step, 1))
    }


def _listed(numbers: Collection[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))
