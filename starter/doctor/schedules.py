"""The jobs' schedules: whether they match the settings, use the newest key, and are not paused."""

import asyncio

from temporalio.client import ScheduleDescription
from temporalio.converter import DataConverter

from starter.connection.encryption import payload_key_id
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.keys import add_keys, missing_keys
from starter.doctor.runner import CheckContext
from starter.doctor.temporal import cli_options
from starter.schedules.apply import stored_fingerprint
from starter.schedules.queries import fetch_schedules, find_schedule
from starter.schedules.table import FINGERPRINT, ScheduledJob, action_memo, build_schedule, scheduled_jobs

APPLY = "Run: commerce schedules apply"


async def check_settings(context: CheckContext) -> CheckResult:
    """Check that every job has a schedule that matches the settings, and that there are no orphans."""
    jobs, found = scheduled_jobs(context.settings), await context.query_once(_schedules)
    if missing := [job.id for job in jobs if job.id not in found]:
        message = f"missing: {', '.join(missing)}"
        if context.settings.schedules == "off":
            return warning(message, f"{APPLY} (workers do not, because COMMERCE_SCHEDULES is off)")
        return failed(message, APPLY)
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
    encryption = context.encryption
    used = {schedule.id: _key_id(schedule) for schedule in (await context.query_once(_schedules)).values()}
    if missing := missing_keys(used.values(), encryption):
        affected = ", ".join(schedule_id for schedule_id, key in used.items() if key in missing)
        return failed(f"a key is missing here for {affected}", add_keys(context, missing))
    newest = encryption.key_ids[0] if encryption.encrypts else None
    if outdated := [schedule_id for schedule_id, key in used.items() if key != newest]:
        problem = "not encrypted with the newest key" if encryption.encrypts else "still encrypted"
        return warning(f"{problem}: {', '.join(outdated)}", APPLY)
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


def _key_id(schedule: ScheduleDescription) -> str | None:
    stored = action_memo(schedule.schedule).get(FINGERPRINT)
    return payload_key_id(stored) if stored else None


async def _differs(context: CheckContext, job: ScheduledJob, schedule: ScheduleDescription) -> bool:
    """Return whether a schedule's definition differs from its job; the key that encrypts it is ignored."""
    key_id = _key_id(schedule)
    if missing_keys([key_id], context.encryption):
        return False  # unknown, and reported by check_keys
    stored = await stored_fingerprint(DataConverter(payload_codec=context.encryption), schedule.schedule)
    return bool(stored != action_memo(build_schedule(job, key_id=key_id or ""))[FINGERPRINT])
