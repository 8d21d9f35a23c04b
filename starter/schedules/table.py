"""The jobs that run by the clock, and what Temporal is told of each."""

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

FINGERPRINT = "commerce-fingerprint"  # in the memo of what a schedule of ours starts: of which definition it is


@dataclass(frozen=True)
class ScheduledJob:
    """A process that runs by the clock: `id` is its type and the id of its schedule.

    `catch_up`: how late a run may begin that was missed while Temporal was away; `note`: what its UI shows.
    """

    id: str
    cron: str
    zone: str
    catch_up: timedelta
    note: str
    overlap: ScheduleOverlapPolicy = ScheduleOverlapPolicy.SKIP
    queue: str = TASK_QUEUE


def scheduled_jobs(settings: Settings) -> Sequence[ScheduledJob]:
    """Return every job as these settings want it."""
    zone = settings.timezone
    return (
        ScheduledJob(
            "cleanup-expired-carts",
            settings.cron_cleanup_expired_carts,
            zone,
            timedelta(hours=12),  # the next night's run deletes the same carts: no need to do it at noon
            "Deletes abandoned carts",
        ),
        ScheduledJob(
            "sync-inventory",
            settings.cron_sync_inventory,
            zone,
            timedelta(hours=6),  # stock that is out of date loses orders: as soon as possible
            "Takes over what the warehouse counts",
        ),
        ScheduledJob(
            "process-pending-orders",
            settings.cron_process_pending_orders,
            zone,
            timedelta(minutes=5),  # the next run is near and takes the same orders
            "Processes paid orders that nobody has processed",
        ),
        ScheduledJob(
            "collect-analytics-data",
            settings.cron_collect_analytics_data,
            zone,
            timedelta(days=14),  # each run counts a day of its own: none may be lost,
            "Counts the day before and mails the report",
            overlap=ScheduleOverlapPolicy.BUFFER_ALL,  # nor skipped because an older one is at work
        ),
        ScheduledJob(
            "upkeep",
            settings.cron_upkeep,
            zone,
            timedelta(hours=12),  # as with carts
            "Throws away records past their retention",
        ),
    )


def action_memo(schedule: Schedule) -> Mapping[str, Any]:
    """Return the memo of what a schedule starts: values as we set them, payloads as Temporal tells them."""
    action = schedule.action
    return (action.memo or {}) if isinstance(action, ScheduleActionStartWorkflow) else {}


def build_schedule(job: ScheduledJob, *, key_id: str, paused: bool = False) -> Schedule:
    """Return the schedule of a job as Temporal is to have it, its fingerprint in the memo.

    The fingerprint differs whenever anything here does, or the key (`key_id`) that Temporal's copy of it is
    encrypted with. It leaves out whether the schedule is paused.
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
        # The server keeps no cron line, only what it means; it does keep the comment.
        spec=ScheduleSpec(cron_expressions=[f"{job.cron} # {job.cron}"], time_zone_name=job.zone),
        policy=SchedulePolicy(overlap=job.overlap, catchup_window=job.catch_up),
        state=ScheduleState(note=job.note),
    )
    action.memo = {FINGERPRINT: sha256(f"{key_id} {schedule}".encode()).hexdigest()[:16]}
    schedule.state.paused = paused
    return schedule
