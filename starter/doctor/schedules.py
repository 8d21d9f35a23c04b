"""The jobs' schedules: whether they match the settings, use the newest key, and are not paused."""

import asyncio

from temporalio.client import Schedule, ScheduleDescription
from temporalio.converter import DataConverter

from commerce.errors import MissingKey
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.keys import add_keys, missing_keys
from starter.doctor.runner import CheckContext
from starter.doctor.temporal import cli_options
from starter.schedules.definition import applied_definition, decode, define, edits, key_id_of
from starter.schedules.queries import fetch_schedules, find_schedule
from starter.schedules.table import ScheduledJob, build_schedule, scheduled_jobs

APPLY = "Run: commerce schedules apply"
RESTORE = "To restore them, run: commerce schedules apply --force"


async def check_settings(context: CheckContext) -> CheckResult:
    """Check that every job has a schedule that matches the settings and is as we applied it, and no other has one."""
    jobs, found = scheduled_jobs(context.settings), await context.query_once(_schedules)
    if missing := [job.id for job in jobs if job.id not in found]:
        message = f"missing: {', '.join(missing)}"
        if context.settings.schedules == "off":
            return warning(message, f"{APPLY} (workers do not, because COMMERCE_SCHEDULES is off)")
        return failed(message, APPLY)
    edited = {job.id: await _edited(context, job, found[job.id]) for job in jobs}
    if changes := [f"{job_id} ({'; '.join(edits)})" for job_id, edits in edited.items() if edits]:
        return warning(f"edited in Temporal: {', '.join(changes)}", f"{RESTORE}, or change the settings to match")
    if differing := [job.id for job in jobs if await _differs(context, job, found[job.id])]:
        return warning(f"differ from the settings: {', '.join(differing)}", APPLY)
    if orphans := [schedule.id for schedule in await fetch_schedules(context.client) if schedule.id not in found]:
        return warning(
            f"belong to no job: {', '.join(orphans)}",
            f"Run for each: temporal schedule delete --schedule-id {orphans[0]} {cli_options(context.client)}",
        )
    return ok(f"{len(found)} match the settings")


async def check_keys(context: CheckContext) -> CheckResult:
    """Check that Temporal's copy of each schedule is encrypted with the newest key."""
    encryption, schedules = context.encryption, await context.query_once(_schedules)
    used = {schedule_id: key_id_of(found.schedule) for schedule_id, found in schedules.items()}
    if missing := missing_keys(used.values(), encryption):
        affected = ", ".join(schedule_id for schedule_id, key in used.items() if key in missing)
        return failed(f"a key is missing here for {affected}", add_keys(context, missing))
    newest = encryption.key_ids[0] if encryption.encrypts else None
    if outdated := [schedule_id for schedule_id, key in used.items() if key != newest]:
        problem = "not encrypted with the newest key" if encryption.encrypts else "still encrypted"
        edited = [
            job
            for job in scheduled_jobs(context.settings)
            if job.id in outdated and await _edited(context, job, schedules[job.id])
        ]
        return warning(f"{problem}: {', '.join(outdated)}", f"{APPLY} --force" if edited else APPLY)
    if not used:
        return ok("there are no schedules")
    return ok("all encrypted with the newest key" if encryption.encrypts else "all unencrypted")


async def check_paused(context: CheckContext) -> CheckResult:
    """Check that no schedule is paused."""
    found = await context.query_once(_schedules)
    if paused := [schedule_id for schedule_id, known in found.items() if known.schedule.state.paused]:
        return warning(", ".join(paused), f"To resume, run: commerce schedules resume {paused[0]}")
    return ok("none")


async def _schedules(context: CheckContext) -> dict[str, ScheduleDescription]:
    jobs = scheduled_jobs(context.settings)
    found = await asyncio.gather(*(find_schedule(context.client, job.id) for job in jobs))
    return {schedule.id: schedule for schedule in found if schedule}


async def _edited(context: CheckContext, job: ScheduledJob, schedule: ScheduleDescription) -> list[str]:
    """Return what someone has changed in a schedule since it was applied."""
    decoded = await _decode(context, schedule)
    return edits(decoded, define(build_schedule(job))) if decoded else []


async def _differs(context: CheckContext, job: ScheduledJob, schedule: ScheduleDescription) -> bool:
    """Return whether the definition that was applied differs from the job; the key that encrypts it is ignored."""
    decoded = await _decode(context, schedule)
    return decoded is not None and applied_definition(decoded) != define(build_schedule(job))


async def _decode(context: CheckContext, schedule: ScheduleDescription) -> Schedule | None:
    """Return a schedule with values in place of payloads, or None if its key is missing, which check_keys reports."""
    try:
        return await decode(DataConverter(payload_codec=context.encryption), schedule.schedule)
    except MissingKey:
        return None
