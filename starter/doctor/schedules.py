"""The schedules of jobs: whether Temporal has them as the settings want, under our newest key, and none paused."""

import asyncio
from collections.abc import Sequence

from temporalio.client import Client, ScheduleDescription
from temporalio.converter import DataConverter

from starter.connection.encryption import Encryption, payload_key_id
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, failed, ok, warning
from starter.doctor.keys import add_keys, missing
from starter.doctor.temporal import where
from starter.schedules.apply import stored_fingerprint
from starter.schedules.queries import fetch_schedules, find_schedule
from starter.schedules.table import FINGERPRINT, ScheduledJob, action_memo, build_schedule, scheduled_jobs

APPLY = "commerce schedules apply"


async def settings(installation: Installation) -> CheckResult:
    """Every job has its schedule, and each is what the settings want."""
    client, encryption, wanted = _needed(installation)
    found = await installation.once(_found)
    if lacking := [job.id for job in wanted if job.id not in found]:
        said = f"missing: {', '.join(lacking)}"
        by_hand = installation.settings is not None and installation.settings.schedules == "off"
        return warning(said, f"{APPLY} (COMMERCE_SCHEDULES is off)") if by_hand else failed(said, APPLY)
    converter = DataConverter(payload_codec=encryption)
    if differing := [job.id for job in wanted if await _differs(job, found[job.id], converter, encryption)]:
        return warning(f"not as the settings say: {', '.join(differing)}", APPLY)
    if orphans := [known.id for known in await fetch_schedules(client) if known.id not in found]:
        return warning(
            f"of no job: {', '.join(orphans)}",
            f"For each: temporal schedule delete --schedule-id {orphans[0]} {where(client)}",
        )
    return ok(f"{len(found)} as the settings say")


async def keys(installation: Installation) -> CheckResult:
    """What Temporal keeps of each is encrypted with our newest key."""
    _, encryption, _ = _needed(installation)
    used = {known.id: _key_of(known) for known in (await installation.once(_found)).values()}
    if lacking := missing(used.values(), encryption):
        told = ", ".join(schedule_id for schedule_id, key in used.items() if key in lacking)
        return failed(f"a key is missing here for {told}", add_keys(installation, lacking))
    newest = encryption.key_ids[0] if encryption.encrypts else None
    if old := [schedule_id for schedule_id, key in used.items() if key != newest]:
        return warning(f"not under the newest key: {', '.join(old)}", APPLY)
    return ok("all under the newest" if used else "there are no schedules")


async def paused(installation: Installation) -> CheckResult:
    """None is paused."""
    found = await installation.once(_found)
    if stopped := [schedule_id for schedule_id, kept in found.items() if kept.schedule.state.paused]:
        return warning(", ".join(stopped), f"commerce schedules resume {stopped[0]}")
    return ok("none")


def _needed(installation: Installation) -> tuple[Client, Encryption, Sequence[ScheduledJob]]:
    assert installation.client and installation.encryption and installation.settings
    return installation.client, installation.encryption, scheduled_jobs(installation.settings)


async def _found(installation: Installation) -> dict[str, ScheduleDescription]:
    client, _, wanted = _needed(installation)
    described = await asyncio.gather(*(find_schedule(client, job.id) for job in wanted))
    return {known.id: known for known in described if known}


def _key_of(known: ScheduleDescription) -> str | None:
    stored = action_memo(known.schedule).get(FINGERPRINT)
    return payload_key_id(stored) if stored else None


async def _differs(
    job: ScheduledJob, known: ScheduleDescription, converter: DataConverter, encryption: Encryption
) -> bool:
    """Tell whether a schedule is of another definition; which key it is kept under is not the question here."""
    key = _key_of(known)
    if missing([key], encryption):
        return False  # nobody can tell
    return bool(
        await stored_fingerprint(converter, known.schedule)
        != action_memo(build_schedule(job, key_id=key or ""))[FINGERPRINT]
    )
