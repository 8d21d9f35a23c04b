"""Schedules as code: bring Temporal's in line with the table of jobs."""

from collections.abc import Sequence
from dataclasses import replace

from temporalio.client import Client, Schedule, ScheduleAlreadyRunningError, ScheduleUpdate, ScheduleUpdateInput
from temporalio.converter import DataConverter

from commerce.messages.schedules import ApplyResult
from commerce.settings import Settings
from starter.connection.encryption import Encryption
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.schedules.queries import fetch_schedules
from starter.schedules.table import FINGERPRINT, ScheduledJob, action_memo, build_schedule, scheduled_jobs


async def apply_schedules(client: Client, settings: Settings, *, paused: bool = False) -> ApplyResult:
    """Apply the schedules of all jobs as these settings want them; see `apply`."""
    encryption = Encryption.from_settings(settings)
    key_id = encryption.key_ids[0] if encryption.encrypts else ""
    return await apply_jobs(client, scheduled_jobs(settings), key_id=key_id, paused=paused)


async def apply_jobs(
    client: Client, wanted: Sequence[ScheduledJob], *, key_id: str, paused: bool = False
) -> ApplyResult:
    """Make Temporal's schedules those of the wanted jobs, and return what became of each.

    Missing ones are created, paused if so asked; those of another definition or encryption key than `key_id` are
    updated, and stay paused if an operator paused them; orphans are told, never deleted. Any number of workers may do
    this at once. Raises Unreachable, and MissingKey where Temporal's copy is encrypted with a key that is not at hand.
    """
    done: dict[str, list[str]] = {outcome: [] for outcome in ApplyResult.model_fields}
    with unreachable_if_refused("take the schedules"):
        for job in wanted:
            done[await _bring(client, job.id, build_schedule(job, key_id=key_id, paused=paused))].append(job.id)
        known = {job.id for job in wanted}
        done["orphans"] = [found.id for found in await fetch_schedules(client) if found.id not in known]
    return ApplyResult.model_validate(done)


async def _bring(client: Client, schedule_id: str, wanted: Schedule) -> str:
    try:
        await client.create_schedule(schedule_id, wanted, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:  # from before, or another worker was faster
        return "updated" if await _update(client, schedule_id, wanted) else "unchanged"
    return "created"


async def _update(client: Client, schedule_id: str, wanted: Schedule) -> bool:
    """Write a definition where Temporal has another one; what an operator did to it stays."""
    differs = False

    async def rewrite(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
        nonlocal differs
        now = found.description.schedule
        differs = await stored_fingerprint(client.data_converter, now) != action_memo(wanted)[FINGERPRINT]
        state = now.state if now.state.paused else replace(now.state, note=wanted.state.note)
        return ScheduleUpdate(replace(wanted, state=state)) if differs else None

    await client.get_schedule_handle(schedule_id).update(rewrite, rpc_timeout=RPC_TIMEOUT)
    return differs


async def stored_fingerprint(converter: DataConverter, schedule: Schedule) -> str | None:
    """Return of which definition a schedule is, as Temporal has it; raises MissingKey."""
    stored = action_memo(schedule).get(FINGERPRINT)
    return (await converter.decode([stored]))[0] if stored else None
