"""What the doctor finds where keys, or the schedules encrypted with them, do not fit; with a real Temporal server."""

from pathlib import Path

import pytest
from temporalio.client import Client

from commerce.settings import load_settings
from starter.client import connect, start_order
from starter.schedules.apply import apply_schedules
from starter.schedules.table import build_schedule, scheduled_jobs
from tests.keys import KEY, OTHER_KEY, codec, encryption_env
from tests.polling import until
from tests.starter.doctor.conftest import Find
from tests.starter.sample_jobs import NIGHTLY

KEY_ID = codec().key_ids[0]
JOBS = [job.id for job in scheduled_jobs(load_settings({}))]
ALL = ", ".join(JOBS)
CHANGED = encryption_env(OTHER_KEY, KEY)


@pytest.fixture
async def applied(here: Client, environment: dict[str, str]) -> Client:
    """A namespace whose schedules are as the settings say."""
    await apply_schedules(here, load_settings(environment), paused=True)
    for job in JOBS:
        await here.get_schedule_handle(job).unpause()
    return here


async def test_no_key(find: Find) -> None:
    found = await find("Keys", "keys", COMMERCE_ENCRYPTION_KEYS="")
    assert (found.state, found.code) == ("failed", 2)
    assert found.found == "COMMERCE_ENCRYPTION_KEYS or COMMERCE_ENCRYPTION_KEYS_FILE: there is no key"
    assert "if there are none yet, make one with `openssl rand -base64 32`" in found.cure


async def test_a_key_that_is_none_is_not_shown(find: Find) -> None:
    found = await find("Keys", "keys", COMMERCE_ENCRYPTION_KEYS="hunter2")
    assert found.found == "COMMERCE_ENCRYPTION_KEYS: key 1 is not base64 of 32 bytes" and "hunter2" not in str(found)


async def test_all_in_clear_is_a_warning(find: Find) -> None:
    found = await find("Keys", "keys", COMMERCE_ENCRYPTION="off")
    assert found.state == "warning" and "COMMERCE_ENCRYPTION=on" in found.cure


async def test_a_key_file_that_others_can_read(find: Find, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(KEY)
    file.chmod(0o644)
    found = await find("Keys", "file", COMMERCE_ENCRYPTION_KEYS="", COMMERCE_ENCRYPTION_KEYS_FILE=str(file))
    assert (found.state, found.cure) == ("warning", f"chmod 600 {file}")
    file.chmod(0o600)
    found = await find("Keys", "file", COMMERCE_ENCRYPTION_KEYS="", COMMERCE_ENCRYPTION_KEYS_FILE=str(file))
    assert found.state == "ok"


async def test_runs_that_our_keys_cannot_read(find: Find, environment: dict[str, str]) -> None:
    assert (await find("Keys", "runs")).found == "there are none yet"
    await start_order(await connect(environment), "1")
    await start_order(await connect(environment | CHANGED), "2")

    async def both_listed() -> bool | None:
        return (await find("Keys", "runs", **CHANGED)).found == "2 looked at, all can be read" or None

    assert await until(both_listed)
    found = await find("Keys", "runs", **encryption_env(OTHER_KEY))
    assert (found.state, found.found) == ("failed", "1 of 2 need a key that is missing here")
    assert found.cure == f"Add the key of id {KEY_ID} to COMMERCE_ENCRYPTION_KEYS, behind the first one"


async def test_schedules_that_are_missing(find: Find) -> None:
    found = await find("Schedules", "settings")
    assert (found.state, found.found, found.cure) == ("failed", f"missing: {ALL}", "commerce schedules apply")
    assert (await find("Schedules", "settings", COMMERCE_SCHEDULES="off")).state == "warning"


async def test_schedules_of_other_settings(find: Find, applied: Client) -> None:
    assert (await find("Schedules", "settings")).found == f"{len(JOBS)} as the settings say"
    found = await find("Schedules", "settings", COMMERCE_CRON_UPKEEP="weekly_sunday", **CHANGED)
    assert (found.state, found.cure) == ("warning", "commerce schedules apply")
    assert found.found == "not as the settings say: upkeep"


async def test_a_schedule_of_no_job(find: Find, applied: Client) -> None:
    await applied.create_schedule(NIGHTLY.id, build_schedule(NIGHTLY, key_id=KEY_ID, paused=True))

    async def told() -> str | None:
        found = await find("Schedules", "settings")
        return found.cure if found.found == f"of no job: {NIGHTLY.id}" else None

    assert (await until(told)).startswith(f"For each: temporal schedule delete --schedule-id {NIGHTLY.id} --address ")


async def test_schedules_under_an_old_key_and_under_a_missing_one(find: Find, applied: Client) -> None:
    assert (await find("Schedules", "keys")).state == "ok"
    old = await find("Schedules", "keys", **CHANGED)
    assert (old.state, old.found) == ("warning", f"not under the newest key: {ALL}")
    assert old.cure == "commerce schedules apply"
    missing = await find("Schedules", "keys", **encryption_env(OTHER_KEY))
    assert (missing.state, missing.found) == ("failed", f"a key is missing here for {ALL}")
    assert missing.cure == f"Add the key of id {KEY_ID} to COMMERCE_ENCRYPTION_KEYS, behind the first one"


async def test_a_paused_schedule_is_a_warning(find: Find, applied: Client) -> None:
    assert (await find("Schedules", "paused")).found == "none"
    await applied.get_schedule_handle("upkeep").pause()
    found = await find("Schedules", "paused")
    assert (found.state, found.found, found.cure) == ("warning", "upkeep", "commerce schedules resume upkeep")
