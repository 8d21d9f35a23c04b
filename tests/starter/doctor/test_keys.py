"""The doctor's findings and advice for keys and schedules, with a real Temporal server."""

from pathlib import Path

import pytest
from temporalio.client import Client, ScheduleOverlapPolicy, ScheduleUpdate, ScheduleUpdateInput

from commerce.settings import load_settings
from starter.client import connect, start_order
from starter.schedules.apply import apply_schedules
from starter.schedules.table import build_schedule, scheduled_jobs
from tests.keys import KEY, OTHER_KEY, codec, encryption_env
from tests.polling import until
from tests.starter.doctor.conftest import RunCheck
from tests.starter.sample_jobs import NIGHTLY

KEY_ID = codec().key_ids[0]
JOBS = [job.id for job in scheduled_jobs(load_settings({}))]
ALL = ", ".join(JOBS)
ROTATED_KEYS = encryption_env(OTHER_KEY, KEY)


@pytest.fixture
async def applied(shop_client: Client, environment: dict[str, str]) -> Client:
    """A client in a namespace whose schedules match the settings."""
    await apply_schedules(shop_client, load_settings(environment), paused=True)
    for job in JOBS:
        await shop_client.get_schedule_handle(job).unpause()
    return shop_client


async def test_no_key(run_check: RunCheck) -> None:
    finding = await run_check("Keys", "keys", COMMERCE_ENCRYPTION_KEYS="")
    assert (finding.state, finding.code) == ("failed", 2)
    assert finding.found == "COMMERCE_ENCRYPTION_KEYS or COMMERCE_ENCRYPTION_KEYS_FILE: there is no key"
    assert "if there is none yet, make one with `openssl rand -base64 32`" in finding.advice


async def test_an_invalid_key_is_not_shown(run_check: RunCheck) -> None:
    finding = await run_check("Keys", "keys", COMMERCE_ENCRYPTION_KEYS="hunter2")
    assert finding.found == "COMMERCE_ENCRYPTION_KEYS: key 1 is not base64 of 32 bytes" and "hunter2" not in str(
        finding
    )


async def test_encryption_off_is_a_warning(run_check: RunCheck) -> None:
    finding = await run_check("Keys", "keys", COMMERCE_ENCRYPTION="off")
    assert finding.state == "warning" and "COMMERCE_ENCRYPTION=on" in finding.advice


async def test_a_key_file_that_others_can_read(run_check: RunCheck, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    finding = await run_check("Keys", "file", COMMERCE_ENCRYPTION_KEYS="", COMMERCE_ENCRYPTION_KEYS_FILE=str(file))
    assert (finding.state, finding.advice) == ("warning", f"Run: chmod 600 {file}")
    file.chmod(0o600)
    finding = await run_check("Keys", "file", COMMERCE_ENCRYPTION_KEYS="", COMMERCE_ENCRYPTION_KEYS_FILE=str(file))
    assert finding.state == "ok"


async def test_runs_that_need_a_missing_key(run_check: RunCheck, environment: dict[str, str]) -> None:
    assert (await run_check("Keys", "runs")).found == "there are no runs yet"
    await start_order(await connect(environment), "1")
    await start_order(await connect(environment | ROTATED_KEYS), "2")

    async def both_listed() -> bool | None:
        return (await run_check("Keys", "runs", **ROTATED_KEYS)).found == "2 checked, all can be decrypted" or None

    assert await until(both_listed)
    finding = await run_check("Keys", "runs", **encryption_env(OTHER_KEY))
    assert (finding.state, finding.found) == ("failed", "1 of 2 runs need a key that is missing here")
    assert finding.advice == f"Add the key with the id {KEY_ID} to COMMERCE_ENCRYPTION_KEYS, after the first key"


async def test_missing_schedules(run_check: RunCheck) -> None:
    finding = await run_check("Schedules", "settings")
    assert (finding.state, finding.found, finding.advice) == (
        "failed",
        f"missing: {ALL}",
        "Run: commerce schedules apply",
    )
    assert (await run_check("Schedules", "settings", COMMERCE_SCHEDULES="off")).state == "warning"


async def test_schedules_that_differ_from_the_settings(run_check: RunCheck, applied: Client) -> None:
    assert (await run_check("Schedules", "settings")).found == f"{len(JOBS)} match the settings"
    finding = await run_check("Schedules", "settings", COMMERCE_CRON_UPKEEP="weekly_sunday", **ROTATED_KEYS)
    assert (finding.state, finding.advice) == ("warning", "Run: commerce schedules apply")
    assert finding.found == "differ from the settings: upkeep"


async def test_a_schedule_edited_in_temporal(run_check: RunCheck, applied: Client) -> None:
    def allow_all(found: ScheduleUpdateInput) -> ScheduleUpdate:
        found.description.schedule.policy.overlap = ScheduleOverlapPolicy.ALLOW_ALL
        return ScheduleUpdate(found.description.schedule)

    await applied.get_schedule_handle("upkeep").update(allow_all)
    finding = await run_check("Schedules", "settings")
    assert (finding.state, finding.found) == (
        "warning",
        "edited in Temporal: upkeep (overlap policy: allow all instead of skip)",
    )
    assert finding.advice == ("To restore them, run: commerce schedules apply --force, or change the settings to match")
    assert (await run_check("Schedules", "keys", **ROTATED_KEYS)).advice == "Run: commerce schedules apply --force"


async def test_an_orphaned_schedule(run_check: RunCheck, applied: Client) -> None:
    await applied.create_schedule(NIGHTLY.id, build_schedule(NIGHTLY, paused=True))

    async def advice() -> str | None:
        finding = await run_check("Schedules", "settings")
        return finding.advice if finding.found == f"belong to no job: {NIGHTLY.id}" else None

    assert (await until(advice)).startswith(
        f"Run for each: temporal schedule delete --schedule-id {NIGHTLY.id} --address "
    )


async def test_schedules_encrypted_with_an_old_key_and_with_a_missing_key(run_check: RunCheck, applied: Client) -> None:
    assert (await run_check("Schedules", "keys")).state == "ok"
    old = await run_check("Schedules", "keys", **ROTATED_KEYS)
    assert (old.state, old.found) == ("warning", f"not encrypted with the newest key: {ALL}")
    assert old.advice == "Run: commerce schedules apply"
    missing = await run_check("Schedules", "keys", **encryption_env(OTHER_KEY))
    assert (missing.state, missing.found) == ("failed", f"a key is missing here for {ALL}")
    assert missing.advice == f"Add the key with the id {KEY_ID} to COMMERCE_ENCRYPTION_KEYS, after the first key"


async def test_a_paused_schedule_is_a_warning(run_check: RunCheck, applied: Client) -> None:
    assert (await run_check("Schedules", "paused")).found == "none"
    await applied.get_schedule_handle("upkeep").pause()
    finding = await run_check("Schedules", "paused")
    assert (finding.state, finding.found, finding.advice) == (
        "warning",
        "upkeep",
        "To resume, run: commerce schedules resume upkeep",
    )
