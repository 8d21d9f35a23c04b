"""What Temporal knows about the jobs' schedules and their runs."""

from collections.abc import Collection
from datetime import UTC

from temporalio.api.schedule.v1 import ScheduleActionResult
from temporalio.client import Client, ScheduleDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import MissingKey, ScheduleNotFound
from commerce.messages.schedules import JobSchedule, ScheduledRun
from starter.connection.rpc import RPC_TIMEOUT, find_latest_run, unreachable_if_refused
from starter.processes import PROCESS_TYPES
from starter.schedules.definition import FORMER_MEMO, MEMO, action_memo, decode, edits, has_other_times


async def list_schedules(client: Client) -> list[JobSchedule]:
    """Return all of our schedules, sorted by id; a new one may be missing for a second. Raises Unreachable."""
    with unreachable_if_refused("list schedules"):
        return [await _to_message(client, found) for found in await fetch_schedules(client)]


async def load_schedule(client: Client, schedule_id: str) -> JobSchedule:
    """Return one of our schedules. Raises ScheduleNotFound, Unreachable."""
    found = await get_schedule(client, schedule_id)
    with unreachable_if_refused(f"describe the runs of {schedule_id}"):
        return await _to_message(client, found)


async def find_open_run(client: Client, job_id: str) -> str | None:
    """Return the process id of a job's open run, started by its schedule or by hand, or None if there is none.

    Raises Unreachable.
    """
    with unreachable_if_refused(f"find open runs of {job_id}"):
        schedule = await find_schedule(client, job_id)
        if schedule and (running := _running(schedule)):
            return running[0]
        by_hand = await find_latest_run(client, job_id)
    return job_id if by_hand and by_hand.status == WorkflowExecutionStatus.RUNNING else None


async def get_schedule(client: Client, schedule_id: str) -> ScheduleDescription:
    """Describe one of our schedules. Raises ScheduleNotFound, Unreachable."""
    with unreachable_if_refused(f"describe the schedule {schedule_id}"):
        found = await find_schedule(client, schedule_id)
        if found and _is_ours(found):
            return found
        known = [other.id for other in await fetch_schedules(client)]
    raise ScheduleNotFound(schedule_id, ", ".join(known) or "none")


async def fetch_schedules(client: Client) -> list[ScheduleDescription]:
    """Describe all of our schedules, sorted by id. Raises RPCError."""
    ids = sorted([entry.id async for entry in await client.list_schedules(rpc_timeout=RPC_TIMEOUT)])
    found = [await find_schedule(client, schedule_id) for schedule_id in ids]
    return [schedule for schedule in found if schedule and _is_ours(schedule)]


async def find_schedule(client: Client, schedule_id: str) -> ScheduleDescription | None:
    """Describe a schedule, ours or not, or return None if there is none. Raises RPCError."""
    try:
        return await client.get_schedule_handle(schedule_id).describe(rpc_timeout=RPC_TIMEOUT)
    except RPCError as error:
        if error.status != RPCStatusCode.NOT_FOUND:
            raise
        return None


def _is_ours(found: ScheduleDescription) -> bool:
    """Return whether a schedule is that of a job, or was applied for one; its action may have been replaced."""
    process_type = PROCESS_TYPES.get(found.id)
    memo = action_memo(found.schedule)
    return MEMO in memo or FORMER_MEMO in memo or (process_type is not None and process_type.is_job)


def _running(found: ScheduleDescription) -> list[str]:
    return [run.workflow_id for run in found.raw_description.info.running_workflows]


async def _to_message(client: Client, found: ScheduleDescription) -> JobSchedule:
    spec, state, running = found.schedule.spec, found.schedule.state, _running(found)
    edited = await _edits(client, found)
    return JobSchedule(
        id=found.id,
        # The comment stays when someone adds other times.
        cron="" if has_other_times(edited) else next((calendar.comment or "" for calendar in spec.calendars), ""),
        zone=spec.time_zone_name or "UTC",
        paused=state.paused,
        note=state.note or "",
        next_runs=[] if state.paused else list(found.info.next_action_times),
        last_runs=[await _run(client, run, running) for run in found.raw_description.info.recent_actions],
        running=running,
        edited=edited,
    )


async def _edits(client: Client, found: ScheduleDescription) -> list[str]:
    """Return what someone has changed in a schedule; nothing if its key is missing here, which the doctor reports."""
    try:
        return edits(await decode(client.data_converter, found.schedule))
    except MissingKey:
        return []


async def _run(client: Client, run: ScheduleActionResult, running: Collection[str]) -> ScheduledRun:
    process, status = run.start_workflow_result.workflow_id, WorkflowExecutionStatus(run.start_workflow_status)
    if status == WorkflowExecutionStatus.RUNNING and process not in running:  # the schedule has missed its end
        latest = await find_latest_run(client, process)
        status = latest.status if latest and latest.status else status
    return ScheduledRun(
        nominal_time=run.schedule_time.ToDatetime(UTC),
        started_at=run.actual_time.ToDatetime(UTC),
        process=process,
        run_id=run.start_workflow_result.run_id,
        status=status.name.lower(),
    )
