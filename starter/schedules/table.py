"""The table of jobs that run on a schedule, and the Temporal Schedule built from each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from commerce.cron import cron_ranges
from commerce.settings import Settings
from starter.processes import TASK_QUEUE
from starter.schedules.definition import MEMO, define
from workflows.engine.search_attributes import SAGA_STATE


@dataclass(frozen=True)
class ScheduledJob:
    """A job that runs on a schedule: `id` is both its process type and the id of its schedule.

    `catch_up` is how late a run may start that was missed while Temporal was down. `note` is shown in Temporal's UI.
    """

    id: str
    cron: str
    zone: str
    catch_up: timedelta
    note: str
    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    queue: str = TASK_QUEUE


def scheduled_jobs(settings: Settings) -> Sequence[ScheduledJob]:
    """Return every job, with its cron line and time zone from the settings."""
    zone = settings.timezone
    return (
        ScheduledJob(
            "cleanup-expired-carts",
            settings.cron_cleanup_expired_carts,
            zone,
            timedelta(hours=12),  # the next night's run deletes the same carts: no need to run at noon
            "Deletes abandoned carts",
        ),
        ScheduledJob(
            "sync-inventory",
            settings.cron_sync_inventory,
            zone,
            timedelta(hours=6),  # stale stock loses orders: run as soon as possible
            "Copies stock levels from the warehouse",
        ),
        ScheduledJob(
            "process-pending-orders",
            settings.cron_process_pending_orders,
            zone,
            timedelta(minutes=5),  # the next run is soon and takes the same orders
            "Processes paid orders that are still open",
        ),
        ScheduledJob(
            "collect-analytics-data",
            settings.cron_collect_analytics_data,
            zone,
            timedelta(days=14),  # each run counts another day: none may be lost,
            "Counts the previous day and mails the report",
            overlap=ScheduleOverlapPolicy.BUFFER_ALL,  # nor skipped because an older run is still open
        ),
        ScheduledJob(
            "upkeep",
            settings.cron_upkeep,
            zone,
            timedelta(hours=12),  # as with carts
            "Deletes records past their retention",
        ),
    )


def build_schedule(job: ScheduledJob, *, paused: bool = False) -> Schedule:
    """Build the Temporal Schedule of a job, with its definition in the memo of its action."""
    action = ScheduleActionStartWorkflow(
        job.id,
        {},
        id=job.id,
        task_queue=job.queue,
        static_summary=job.note,
        typed_search_attributes=TypedSearchAttributes([SearchAttributePair(SAGA_STATE, "running")]),
    )
    schedule = Schedule(
        action=action,
        spec=ScheduleSpec(calendars=[_calendar(job.cron)], time_zone_name=job.zone),
        policy=SchedulePolicy(overlap=job.overlap, catchup_window=job.catch_up),
        state=ScheduleState(note=job.note, paused=paused),
    )
    action.memo = {MEMO: define(schedule)}
    return schedule


def _calendar(cron: str) -> ScheduleCalendarSpec:
    """Return the calendar of a cron line. Temporal would read some lines in its own way, such as 1/1 for a weekday."""
    minute, hour, day, month, weekday = ([ScheduleRange(*span) for span in spans] for spans in cron_ranges(cron))
    return ScheduleCalendarSpec(
        minute=minute, hour=hour, day_of_month=day, month=month, day_of_week=weekday, comment=cron
    )
