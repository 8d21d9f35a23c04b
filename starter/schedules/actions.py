"""What operators do to the schedules of jobs: trigger, pause, resume, backfill."""

import asyncio
from datetime import UTC, date, datetime, time, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

from google.protobuf.timestamp_pb2 import Timestamp
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import CreateScheduleRequest, ListScheduleMatchingTimesRequest
from temporalio.client import Client, ScheduleBackfill, ScheduleDescription, ScheduleOverlapPolicy
from temporalio.service import RPCError

from commerce import operator_actions
from commerce.database import Database
from commerce.errors import BadInput, JobInProgress
from commerce.messages.base import FieldError
from commerce.messages.schedules import JobSchedule
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.schedules.queries import find_open_run, get_schedule, list_schedules

COUNTS_DAYS = "collect-analytics-data"
SECOND = timedelta(seconds=1)
MAX_NOMINAL_TIMES = 1000  # that Temporal lists in one answer
MAX_BACKFILL = 100  # runs
TOO_MANY_RUNS = FieldError(field="to", message=f"must span at most {MAX_BACKFILL} runs")
CREATE_TRIES = 5


async def list_schedules_with_reasons(client: Client, database: Database) -> list[JobSchedule]:
    """Return all of our schedules, with the operators' reasons in place of the notes that refer to them.

    Raises Unreachable, DatabaseUnavailable.
    """
    schedules = await list_schedules(client)
    async with database.transaction() as tx:
        reasons = await operator_actions.load_reasons(tx, {schedule.note for schedule in schedules})
    return [schedule.model_copy(update={"note": reasons.get(schedule.note, schedule.note)}) for schedule in schedules]


async def trigger(client: Client, schedule_id: str, *, database: Database | None = None, actor: str = "") -> str | None:
    """Run a job now, even if it is paused. Return the process id, or None if Temporal does not report it yet.

    With a database, it is recorded as an operator's action. Raises ScheduleNotFound, JobInProgress, Unreachable,
    DatabaseUnavailable.
    """
    before = await get_schedule(client, schedule_id)
    if process := await find_open_run(client, schedule_id):
        raise JobInProgress(schedule_id, process)
    if database:
        await _record(database, process_id=schedule_id, action="trigger", reason="", actor=actor)
    with unreachable_if_refused(f"trigger {schedule_id}"):
        await client.get_schedule_handle(schedule_id).trigger(
            overlap=ScheduleOverlapPolicy.SKIP, rpc_timeout=RPC_TIMEOUT
        )
    known = [run.run_id for run in _runs(before)]
    new = [run.workflow_id for run in _runs(await get_schedule(client, schedule_id)) if run.run_id not in known]
    return new[-1] if new else None


async def pause(client: Client, database: Database, schedule_id: str, *, reason: str, actor: str = "") -> None:
    """Stop the scheduled runs of a job, and the runs of a backfill that still wait for their turn.

    The reason is stored in our database; Temporal gets the id of that record only. Raises ScheduleNotFound,
    Unreachable, DatabaseUnavailable.
    """
    await get_schedule(client, schedule_id)
    note = await _record(database, process_id=schedule_id, action="pause", reason=reason, actor=actor)
    with unreachable_if_refused(f"pause {schedule_id}"):
        await client.get_schedule_handle(schedule_id).pause(note=note, rpc_timeout=RPC_TIMEOUT)
    paused = await get_schedule(client, schedule_id)
    if _has_waiting_runs(paused):
        await _drop_waiting_runs(client, paused)


async def resume(client: Client, database: Database, schedule_id: str, *, reason: str, actor: str = "") -> None:
    """Start the scheduled runs of a job again. The reason is stored, and errors are raised, as by `pause`."""
    await get_schedule(client, schedule_id)
    note = await _record(database, process_id=schedule_id, action="resume", reason=reason, actor=actor)
    with unreachable_if_refused(f"resume {schedule_id}"):
        await client.get_schedule_handle(schedule_id).unpause(note=note, rpc_timeout=RPC_TIMEOUT)


async def backfill(
    client: Client,
    schedule_id: str,
    start: date | datetime,
    end: date | datetime,
    *,
    database: Database | None = None,
    actor: str = "",
) -> list[datetime]:
    """Run a job for its nominal times in [start, end), one after the other, and return these times.

    A day starts at midnight in the job's time zone. Future times are left to the schedule. With a database, it is
    recorded as an operator's action. Raises BadInput, also for more than MAX_BACKFILL runs and while runs of an earlier
    backfill wait, ScheduleNotFound, Unreachable, DatabaseUnavailable.
    """
    found = await get_schedule(client, schedule_id)
    zone = ZoneInfo(found.schedule.spec.time_zone_name or "UTC")
    first, end_time = _instant(start, zone), _instant(end, zone)
    if first >= end_time:
        raise BadInput([FieldError(field="to", message="must be later than from")])
    times = await _nominal_times(client, schedule_id, first, min(end_time, datetime.now(UTC)))
    if len(times) > MAX_BACKFILL:
        raise BadInput([TOO_MANY_RUNS])
    if times and _has_waiting_runs(found):
        raise BadInput(
            [FieldError(field="from", message="runs still wait: let them end, or pause the job to drop them")]
        )
    if times:
        # Versions of Temporal differ on whether the ends are included; no cron line matches these ends.
        if database:
            what = f"{times[0].isoformat()} to {times[-1].isoformat()}"
            await _record(database, process_id=schedule_id, action="backfill", reason=what, actor=actor)
        span = ScheduleBackfill(times[0] - SECOND, times[-1] + SECOND, overlap=ScheduleOverlapPolicy.BUFFER_ALL)
        with unreachable_if_refused(f"backfill {schedule_id}"):
            await client.get_schedule_handle(schedule_id).backfill(span, rpc_timeout=RPC_TIMEOUT)
    return times


def counting_period(schedule_id: str, first: date, last: date) -> tuple[date, date]:
    """Return the days [start, end) of the nominal times at which a job counts the days from `first` to `last`.

    `collect-analytics-data` counts the day before its nominal time; no other job counts days. Raises BadInput.
    """
    if schedule_id != COUNTS_DAYS:
        raise BadInput([FieldError(field="days", message=f"only {COUNTS_DAYS} counts days; others have from and to")])
    if first > last:
        raise BadInput([FieldError(field="days", message="the last day must not be before the first one")])
    return first + timedelta(days=1), last + timedelta(days=2)


async def _record(database: Database, **facts: str) -> str:
    action = operator_actions.validate_action(**facts)
    async with database.transaction() as tx:
        return await operator_actions.record(tx, action)


def _has_waiting_runs(found: ScheduleDescription) -> bool:
    """Return whether runs wait for their turn; Temporal reports only some of them."""
    return found.raw_description.info.buffer_size > 0


async def _drop_waiting_runs(client: Client, paused: ScheduleDescription) -> None:
    """Replace a paused schedule by an equal one without waiting runs, which Temporal cannot remove. Raises Unreachable.

    A run that has started continues. The copy is raw, so encrypted inputs stay as they are.
    """
    raw = paused.raw_description
    request = CreateScheduleRequest(
        namespace=client.namespace,
        schedule_id=paused.id,
        schedule=raw.schedule,
        memo=raw.memo,
        search_attributes=raw.search_attributes,
        identity=client.identity,
        request_id=str(uuid4()),
    )
    with unreachable_if_refused(f"replace the schedule {paused.id}"):
        await client.get_schedule_handle(paused.id).delete(rpc_timeout=RPC_TIMEOUT)
        for tries_left in reversed(range(CREATE_TRIES)):
            try:
                await client.workflow_service.create_schedule(request, retry=True, timeout=RPC_TIMEOUT)
            except RPCError:
                if not tries_left:
                    raise
                await asyncio.sleep(1)
            else:
                return


def _runs(found: ScheduleDescription) -> list[WorkflowExecution]:
    return [run.start_workflow_result for run in found.raw_description.info.recent_actions]


def _instant(moment: date | datetime, zone: ZoneInfo) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time.min, zone)


async def _nominal_times(client: Client, schedule_id: str, first: datetime, end: datetime) -> list[datetime]:
    """Return the nominal times of a schedule in [first, end), oldest first."""
    request = ListScheduleMatchingTimesRequest(
        namespace=client.namespace,
        schedule_id=schedule_id,
        start_time=_timestamp(first - SECOND),
        end_time=_timestamp(end),
    )
    with unreachable_if_refused(f"list the nominal times of {schedule_id}"):
        answer = await client.workflow_service.list_schedule_matching_times(request, retry=True, timeout=RPC_TIMEOUT)
    if len(answer.start_time) >= MAX_NOMINAL_TIMES:
        raise BadInput([TOO_MANY_RUNS])
    times = [listed.ToDatetime(UTC) for listed in answer.start_time]
    return [listed for listed in times if first <= listed < end]


def _timestamp(moment: datetime) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
