"""Schedules as code: create and update Temporal's schedules from the table of jobs."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from temporalio.client import Client, Schedule, ScheduleAlreadyRunningError, ScheduleUpdate, ScheduleUpdateInput

from commerce.messages.schedules import ApplyResult
from commerce.settings import Settings
from starter.connection.encryption import Encryption
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.schedules.definition import applied_definition, decode, define, edits, key_id_of
from starter.schedules.queries import fetch_schedules
from starter.schedules.table import ScheduledJob, build_schedule, scheduled_jobs

Outcome = Literal["created", "updated", "unchanged"]


async def apply_schedules(
    client: Client, settings: Settings, *, paused: bool = False, force: bool = False
) -> ApplyResult:
    """Apply the schedules of all jobs from these settings; see `apply_jobs`."""
    encryption = Encryption.from_settings(settings)
    key_id = encryption.key_ids[0] if encryption.encrypts else None
    return await apply_jobs(client, scheduled_jobs(settings), key_id=key_id, paused=paused, force=force)


async def apply_jobs(
    client: Client, jobs: Sequence[ScheduledJob], *, key_id: str | None, paused: bool = False, force: bool = False
) -> ApplyResult:
    """Create or update the schedules of these jobs, and return the outcome for each.

    Missing schedules are created, paused if `paused`. Schedules with another definition or encryption key than `key_id`
    (None: unencrypted) are updated; one that an operator paused stays paused. One that someone has edited in Temporal
    is left alone, unless `force`. Orphans are reported, never deleted. Several workers may call this at the same time.
    Raises Unreachable, and MissingKey if Temporal's copy is encrypted with an unknown key.
    """
    outcomes: dict[Outcome, list[str]] = {"created": [], "updated": [], "unchanged": []}
    edited: dict[str, list[str]] = {}
    with unreachable_if_refused("apply the schedules"):
        for job in jobs:
            outcome = await _create_or_update(client, job.id, build_schedule(job, paused=paused), key_id, force=force)
            if isinstance(outcome, str):
                outcomes[outcome].append(job.id)
            else:
                edited[job.id] = outcome
        known = {job.id for job in jobs}
        orphans = [found.id for found in await fetch_schedules(client) if found.id not in known]
    return ApplyResult(**outcomes, edited=edited, orphans=orphans)


async def _create_or_update(
    client: Client, schedule_id: str, wanted: Schedule, key_id: str | None, *, force: bool
) -> Outcome | list[str]:
    """Return what was done, or the edits because of which nothing was done."""
    try:
        await client.create_schedule(schedule_id, wanted, rpc_timeout=RPC_TIMEOUT)
    except ScheduleAlreadyRunningError:  # it exists, perhaps because another worker was faster
        return await _update(client, schedule_id, wanted, key_id, force=force)
    return "created"


async def _update(
    client: Client, schedule_id: str, wanted: Schedule, key_id: str | None, *, force: bool
) -> Outcome | list[str]:
    """Update a schedule if its definition or key differs; an operator's pause is kept."""
    outcome: Outcome | list[str] = "unchanged"

    async def rewrite(found: ScheduleUpdateInput) -> ScheduleUpdate | None:
        nonlocal outcome
        now = await decode(client.data_converter, found.description.schedule)
        definition = define(wanted)
        edited = edits(now, definition)
        if edited and not force:
            outcome = edited
            return None
        if not edited and applied_definition(now) == definition and key_id_of(found.description.schedule) == key_id:
            outcome = "unchanged"
            return None
        outcome = "updated"
        state = now.state if now.state.paused else replace(now.state, note=wanted.state.note)
        return ScheduleUpdate(replace(wanted, state=replace(state, limited_actions=False, remaining_actions=0)))

    await client.get_schedule_handle(schedule_id).update(rewrite, rpc_timeout=RPC_TIMEOUT)
    return outcome
