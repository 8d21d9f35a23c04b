"""What Temporal knows of the schedules of jobs and of their runs."""

from collections.abc import Collection
from datetime import UTC

from temporalio.api.schedule.v1 import ScheduleActionResult
from temporalio.client import Client, ScheduleDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from commerce import operator_actions
from commerce.database import Database
from commerce.errors import ScheduleNotFound
from commerce.messages.schedules import JobSchedule, ScheduledRun
from starter.connection.rpc import RPC_TIMEOUT, find_latest_run, unreachable_if_refused
from starter.schedules.table import FINGERPRINT, action_memo


async def list_schedules(client: Client) -> list[JobSchedule]:
    """Return every schedule of ours, by id; a new one may be missing for a second. Raises Unreachable."""
    with unreachable_if_refused("tell the schedules"):
        return [await _shown(client, found) for found in await fetch_schedules(client)]


async def list_schedules_with_reasons(client: Client, database: Database) -> list[JobSchedule]:
    """Return the same, with an operator's reason in place of the note that Temporal has of it.

    Raises DatabaseUnavailable too.
    """
    found = await list_schedules(client)
    async with database.transaction() as tx:
        reasons = await operator_actions.reasons(tx, {schedule.note for schedule in found})
    return [schedule.model_copy(update={"note": reasons.get(schedule.note, schedule.note)}) for schedule in found]


async def find_open_run(client: Client, job_id: str) -> str | None:
    """Return the id of an open run of a job, started by its schedule or by hand; None: it does not run.

    Raises Unreachable.
    """
    with unreachable_if_refused(f"tell whether {job_id} runs"):
        found = await find_schedule(client, job_id)
        if found and (running := _running(found)):
            return running[0]
        by_hand = await find_latest_run(client, job_id)
    return job_id if by_hand and by_hand.status == WorkflowExecutionStatus.RUNNING else None


async def get_schedule(client: Client, schedule_id: str) -> ScheduleDescription:
    """Return what Temporal knows of a schedule of ours; raises ScheduleNotFound and Unreachable."""
    with unreachable_if_refused(f"tell of {schedule_id}"):
        found = await find_schedule(client, schedule_id)
        if found and _is_ours(found):
            return found
        known = [other.id for other in await fetch_schedules(client)]
    raise ScheduleNotFound(schedule_id, ", ".join(known) or "none")


async def fetch_schedules(client: Client) -> list[ScheduleDescription]:
    """Return every schedule of ours, by id; raises RPCError."""
    ids = sorted([entry.id async for entry in await client.list_schedules(rpc_timeout=RPC_TIMEOUT)])
    found = [await find_schedule(client, schedule_id) for schedule_id in ids]
    return [schedule for schedule in found if schedule and _is_ours(schedule)]


async def find_schedule(client: Client, schedule_id: str) -> ScheduleDescription | None:
    """Return what Temporal knows of a schedule, whosever it is; None: there is none. Raises RPCError."""
    try:
        return await client.get_schedule_handle(schedule_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


def _is_ours(found: ScheduleDescription) -> bool:
    return FINGERPRINT in action_memo(found.schedule)


def _running(found: ScheduleDescription) -> list[str]:
    return [run.workflow_id for run in found.raw_description.info.running_workflows]


async def _shown(client: Client, found: ScheduleDescription) -> JobSchedule:
    spec, state, running = found.schedule.spec, found.schedule.state, _running(found)
    return JobSchedule(
        id=found.id,
        cron=next((times.comment or "" for times in spec.calendars), ""),
        zone=spec.time_zone_name or "UTC",
        paused=state.paused,
        note=state.note or "",
        next_runs=[] if state.paused else list(found.info.next_action_times),
        last_runs=[await _run(client, run, running) for run in found.raw_description.info.recent_actions],
        running=running,
    )


async def _run(client: Client, run: ScheduleActionResult, running: Collection[str]) -> ScheduledRun:
    process, status = run.start_workflow_result.workflow_id, WorkflowExecutionStatus(run.start_workflow_status)
    if status == WorkflowExecutionStatus.RUNNING and process not in running:  # the schedule has not noticed its end
        latest = await find_latest_run(client, process)
        status = latest.status if latest and latest.status else status
    return ScheduledRun(
        nominal_time=run.schedule_time.ToDatetime(UTC),
        started_at=run.actual_time.ToDatetime(UTC),
        process=process,
        run_id=run.start_workflow_result.run_id,
        status=status.name.lower(),
    )
