"""The table of jobs that run on a schedule, and the Temporal Schedule built from each row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from typing import Any

from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
)
from temporalio.common import SearchAttributePair, TypedSearchAttributes

from commerce.settings import Settings
from starter.processes import TASK_QUEUE
from workflows.engine.search_attributes import SAGA_STATE

FINGERPRINT = "commerce-fingerprint"  # in the memo of each schedule's action: a hash of the schedule's definition


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


def action_memo(schedule: Schedule) -> Mapping[str, Any]:
    """Return the memo for the runs of a schedule: our values, or payloads if Temporal returned the schedule."""
    action = schedule.action
    return (action.memo or {}) if isinstance(action, ScheduleActionStartWorkflow) else {}


def build_schedule(job: ScheduledJob, *, key_id: str, paused: bool = False) -> Schedule:
    """Build the Temporal Schedule of a job, with a fingerprint in the memo of its action.

    The fingerprint covers the whole schedule and `key_id`, the encryption key of Temporal's copy, but not whether the
    schedule is paused.
    """
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
        # The server stores the parsed calendar and the comment, but not the cron line; so the comment repeats it.
        spec=ScheduleSpec(cron_expressions=[f"{job.cron} # {job.cron}"], time_zone_name=job.zone),
        policy=SchedulePolicy(overlap=job.overlap, catchup_window=job.catch_up),
        state=ScheduleState(note=job.note),
    )
    action.memo = {FINGERPRINT: sha256(f"{key_id} {schedule}".encode()).hexdigest()[:16]}
    schedule.state.paused = paused
    return schedule
