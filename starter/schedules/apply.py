"""Schedules as code: create and update Temporal's schedules from the table of jobs."""

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
    """Apply the schedules of all jobs from these settings; see `apply_jobs`."""
    encryption = Encryption.from_settings(settings)
    key_id = encryption.key_ids[0] if encryption.encrypts else ""
    return await apply_jobs(client, scheduled_jobs(settings), key_id=key_id, paused=paused)


async def apply_jobs(client: Client, jobs: Sequence[ScheduledJob], *, key_id: str, paused: bool = False) -> ApplyResult:
    """Create or update the schedules of these jobs, and return the outcome for each.

    Missing schedules are created, paused if `paused`. Schedules with another definition or encryption key than `key_id`
    are updated; one that an operator paused stays paused. Orphans are reported, never deleted. Several workers may call
    this at the same time. Raises Unreachable, and MissingKey if Temporal's copy is encrypted with an unknown key.
    """
    outcomes: dict[str, list[str]] = {outcome: [] for outcome in ApplyResult.model_fields}
    with unreachable_if_refused("apply the schedules"):
        for job in jobs:
            outcome = await _create_or_update(client, job.id, build_schedule(job, key_id=key_id, paused=paused))
            outcomes[outcome].append(job.id)
        known = {job.id for job in jobs}
        outcomes["orphans"] = [found.id for found in await fetch_schedules(client) if found.id not in known]
    return ApplyResult.model_validate(outcomes)


async def _create_or_update(client: Client, schedule_id: str, wanted: Schedule) -> str:
    try:
        await client.create_schedule(schedule_id, wanted, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:  # it exists, perhaps because another worker was faster
        return "updated" if await _update(client, schedule_id, wanted) else "unchanged"
    return "created"


async def _update(client: Client, schedule_id: str, wanted: Schedule) -> bool:
    """Update a schedule if its definition differs, and return whether it did; an operator's pause is kept."""
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
    """Return the fingerprint of a schedule that Temporal returned, or None if it has none. Raises MissingKey."""
    stored = action_memo(schedule).get(FINGERPRINT)
    return (await converter.decode([stored]))[0] if stored else None
