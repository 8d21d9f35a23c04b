"""The table of jobs, and applying it to a real Temporal server."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleOverlapPolicy, ScheduleSpec

from commerce.cron import Preset
from commerce.database import Database
from commerce.errors import MissingKey, ScheduleNotFound
from commerce.messages.schedules import ApplyResult
from commerce.settings import load_settings
from starter.client import connect
from starter.schedules.actions import list_schedules_with_reasons, pause, resume
from starter.schedules.apply import apply_schedules
from starter.schedules.definition import applied_definition
from starter.schedules.table import ScheduledJob, build_schedule, scheduled_jobs
from tests.keys import ENCRYPTION_ENV, KEY
from tests.polling import until
from tests.starter.sample_jobs import NIGHTLY, QUEUE, WAITING
from tests.starter.schedules.conftest import FOREIGN, OUR_JOBS, apply, description, get_listed

CHANGED = replace(NIGHTLY, cron="30 4 * * *")
NEWER_KEY = "YSBrZXkgdGhhdCB0YWtlcyBvdmVyIHNvbWUgZGF5IS4="  # 32 bytes, not a secret


def outcome(**outcomes: list[str]) -> ApplyResult:
    nothing: dict[str, Any] = {outcome: [] for outcome in ApplyResult.model_fields} | {"edited": {}}
    return ApplyResult.model_validate(nothing | outcomes)


def test_the_table_has_the_jobs_of_the_contract() -> None:
    assert {job.id: (job.cron, job.zone) for job in OUR_JOBS.values()} == {
        "cleanup-expired-carts": ("0 2 * * *", "UTC"),
        "sync-inventory": ("0 */6 * * *", "UTC"),
        "process-pending-orders": ("*/15 * * * *", "UTC"),
        "collect-analytics-data": ("0 1 * * *", "UTC"),
        "upkeep": ("30 3 * * *", "UTC"),
    }


@pytest.mark.parametrize("job", OUR_JOBS)
def test_a_cron_setting_changes_only_its_own_job(job: str) -> None:
    name = f"COMMERCE_CRON_{job.upper().replace('-', '_')}"
    jobs = scheduled_jobs(load_settings({name: "monthly_first", "COMMERCE_TIMEZONE": "Europe/London"}))
    assert [found.id for found in jobs if found.cron == Preset.MONTHLY_FIRST] == [job]
    assert {found.zone for found in jobs} == {"Europe/London"}


@pytest.mark.parametrize(
    "other",
    [
        replace(NIGHTLY, cron="0 2 * * *"),
        replace(NIGHTLY, zone="Europe/London"),
        replace(NIGHTLY, catch_up=timedelta(hours=2)),
        replace(NIGHTLY, note="Counts other sheep"),
        replace(NIGHTLY, queue="another"),
        replace(NIGHTLY, overlap=ScheduleOverlapPolicy.BUFFER_ALL),
        replace(NIGHTLY, id="another"),
    ],
)
def test_every_part_of_a_job_is_in_its_definition(other: ScheduledJob) -> None:
    assert applied_definition(build_schedule(other)) != applied_definition(build_schedule(NIGHTLY))


def test_a_pause_is_no_part_of_the_definition() -> None:
    assert applied_definition(build_schedule(NIGHTLY, paused=True)) == applied_definition(build_schedule(NIGHTLY))


async def test_missing_schedules_are_created_once(client: Client) -> None:
    assert await apply(client, NIGHTLY, WAITING) == outcome(created=[NIGHTLY.id, WAITING.id])
    assert await apply(client, NIGHTLY, WAITING) == outcome(unchanged=[NIGHTLY.id, WAITING.id])
    found = await description(client, NIGHTLY)
    assert found.info.last_updated_at is None
    assert (found.schedule.state.note, found.schedule.state.paused) == (NIGHTLY.note, False)


async def test_a_changed_cron_line_updates_the_schedule(client: Client) -> None:
    await apply(client, NIGHTLY)
    assert await apply(client, CHANGED) == outcome(updated=[NIGHTLY.id])
    assert await apply(client, CHANGED) == outcome(unchanged=[NIGHTLY.id])
    found = await get_listed(client, CHANGED)
    assert (found.cron, found.edited) == (CHANGED.cron, [])
    assert {(run.hour, run.minute) for run in found.next_runs} == {(4, 30)}


async def test_an_update_keeps_an_operators_pause_and_its_reason(client: Client, database: Database) -> None:
    await apply(client, NIGHTLY)
    await pause(client, database, NIGHTLY.id, reason="The sheep are ill")
    assert await apply(client, CHANGED) == outcome(updated=[NIGHTLY.id])
    assert (await get_listed(client, NIGHTLY)).note.startswith("operator action ")
    [found] = [job for job in await list_schedules_with_reasons(client, database) if job.id == NIGHTLY.id]
    assert (found.paused, found.note, found.cron) == (True, "The sheep are ill", CHANGED.cron)
    assert found.next_runs == []
    await resume(client, database, NIGHTLY.id, reason="They are well")
    assert not (found := await get_listed(client, NIGHTLY)).paused and found.next_runs


async def test_schedules_created_paused_stay_paused(client: Client) -> None:
    await apply(client, NIGHTLY, paused=True)
    assert await apply(client, NIGHTLY) == outcome(unchanged=[NIGHTLY.id])
    assert (await description(client, NIGHTLY)).schedule.state.paused


async def test_an_orphan_is_reported_and_left_unchanged(client: Client) -> None:
    await apply(client, NIGHTLY, WAITING)
    await get_listed(client, WAITING)
    assert await apply(client, NIGHTLY) == outcome(unchanged=[NIGHTLY.id], orphans=[WAITING.id])
    assert not (await description(client, WAITING)).schedule.state.paused


async def test_foreign_schedules_are_ignored(client: Client, database: Database) -> None:
    action = ScheduleActionStartWorkflow("sample-nightly", id=FOREIGN, task_queue=QUEUE)
    await client.create_schedule(FOREIGN, Schedule(action, ScheduleSpec(cron_expressions=["0 1 * * *"])))

    async def visible() -> bool | None:
        return FOREIGN in [entry.id async for entry in await client.list_schedules()] or None

    await until(visible)
    assert (await apply(client, NIGHTLY)).orphans == []
    await get_listed(client, NIGHTLY)
    with pytest.raises(ScheduleNotFound, match=rf"^There is no schedule {FOREIGN} \(known: {NIGHTLY.id}\)\.$"):
        await pause(client, database, FOREIGN, reason="")


async def test_workers_can_apply_concurrently(client: Client) -> None:
    first = await asyncio.gather(*(apply(client, NIGHTLY, WAITING) for _ in range(5)))
    assert sorted(job for applied in first for job in applied.created) == [NIGHTLY.id, WAITING.id]
    repeated = await asyncio.gather(*(apply(client, CHANGED, WAITING) for _ in range(5)))
    assert {job for applied in repeated for job in applied.updated} == {NIGHTLY.id}
    assert await apply(client, CHANGED, WAITING) == outcome(unchanged=[NIGHTLY.id, WAITING.id])


async def test_the_jobs_are_applied_from_the_settings(client: Client) -> None:
    settings = load_settings({"COMMERCE_CRON_UPKEEP": "0,30 9-17/2 1-31/2 jan-mar,DEC mon-fri", **ENCRYPTION_ENV})
    assert await apply_schedules(client, settings, paused=True) == outcome(created=list(OUR_JOBS))
    assert await apply_schedules(client, settings) == outcome(unchanged=list(OUR_JOBS))
    in_clear = load_settings(
        {"COMMERCE_CRON_UPKEEP": settings.cron_upkeep, "COMMERCE_ENCRYPTION": "off", **ENCRYPTION_ENV}
    )
    assert await apply_schedules(client, in_clear) == outcome(updated=list(OUR_JOBS))


async def test_the_first_apply_after_a_key_rotation_needs_the_old_key(client: Client, temporal_server: str) -> None:
    async def apply_with(*keys: str) -> ApplyResult:
        environment = {"TEMPORAL_ADDRESS": temporal_server, "COMMERCE_ENCRYPTION_KEYS": ",".join(keys)}
        return await apply_schedules(await connect(environment), load_settings(environment))

    assert await apply_with(KEY) == outcome(created=list(OUR_JOBS))
    with pytest.raises(MissingKey):
        await apply_with(NEWER_KEY)
    assert await apply_with(NEWER_KEY, KEY) == outcome(updated=list(OUR_JOBS))
    assert await apply_with(NEWER_KEY) == outcome(unchanged=list(OUR_JOBS))


@pytest.mark.parametrize("preset", Preset)
async def test_temporal_accepts_every_preset_and_describes_it_as_applied(client: Client, preset: Preset) -> None:
    await apply(client, replace(NIGHTLY, cron=preset.value))
    found = await get_listed(client, NIGHTLY)
    assert (found.cron, found.edited) == (preset.value, [])
