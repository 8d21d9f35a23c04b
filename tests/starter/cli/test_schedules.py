"""`commerce schedules …`: its output as text and as JSON, and its exit codes."""

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from temporalio.client import (
    Client,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    ScheduleRange,
    ScheduleUpdate,
    ScheduleUpdateInput,
)

from commerce.settings import Settings
from starter.schedules.table import scheduled_jobs
from tests.polling import until
from tests.starter.cli.conftest import Commerce
from tests.starter.sample_jobs import delete_schedules

JOBS = [job.id for job in scheduled_jobs(Settings())]


@pytest.fixture
async def schedules(client: Client, commerce: Commerce, temporal_settings: None) -> AsyncIterator[Commerce]:
    """Run `commerce schedules …` on a server without schedules."""
    yield partial(commerce, "schedules")
    await delete_schedules(client, *JOBS)


async def until_listed(schedules: Commerce) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = (await schedules("list", "--json")).json
        return sorted(found, key=lambda schedule: JOBS.index(schedule["id"])) if len(found) == len(JOBS) else None

    return await until(look)


async def test_applied_schedules_are_printed_and_listed(schedules: Commerce, monkeypatch: pytest.MonkeyPatch) -> None:
    applied = await schedules("apply", "--paused")
    assert applied.code == 0 and applied.out.splitlines() == [f"  created  {job}" for job in JOBS]
    again = (await schedules("apply", "--json")).json
    assert again == {"created": [], "updated": [], "unchanged": JOBS, "edited": {}, "orphans": []}
    assert [found["paused"] for found in await until_listed(schedules)] == [True] * len(JOBS)
    monkeypatch.setenv("COMMERCE_CRON_UPKEEP", "weekly_sunday")
    assert "  updated  upkeep" in (await schedules("apply")).out
    listed = (await schedules("list")).out
    assert "0 3 * * 0, UTC" in listed and "paused" in listed


async def test_edits_in_temporal_are_printed_and_restored_with_force(schedules: Commerce, client: Client) -> None:
    def edit(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = found.description.schedule
        schedule.policy.overlap = ScheduleOverlapPolicy.ALLOW_ALL
        schedule.spec.calendars = [ScheduleCalendarSpec(hour=[ScheduleRange(4)])]
        return ScheduleUpdate(schedule)

    await schedules("apply", "--paused")
    await until_listed(schedules)
    await client.get_schedule_handle("upkeep").update(edit)
    edits = ["upkeep: times: 0 4 * * * instead of 30 3 * * *", "upkeep: overlap policy: allow all instead of skip"]
    hint = "Edited in Temporal. To restore what the settings say: commerce schedules apply --force"
    listed = await schedules("list")
    assert listed.out.splitlines()[-3:] == [*edits, hint]
    assert "edited, UTC" in listed.out
    applied = await schedules("apply")
    assert applied.out.splitlines()[-4:] == ["   edited  upkeep", *edits, hint]
    assert (await schedules("apply", "--json")).json["edited"] == {"upkeep": [edit[8:] for edit in edits]}
    assert "  updated  upkeep" in (await schedules("apply", "--force")).out
    assert hint not in (await schedules("list")).out


async def test_a_job_is_paused_and_resumed(schedules: Commerce) -> None:
    await schedules("apply")
    assert await schedules("pause", "upkeep", "--reason", "Disk is full") == (0, "upkeep is paused\n", "")
    [*_, upkeep] = await until_listed(schedules)
    assert (upkeep["id"], upkeep["paused"], upkeep["note"], upkeep["next_runs"]) == ("upkeep", True, "Disk is full", [])
    resumed = (await schedules("resume", "upkeep", "--json")).json
    assert resumed == {"id": "upkeep", "paused": False, "reason": "by hand"}


async def test_a_job_is_triggered_once(schedules: Commerce) -> None:
    await schedules("apply", "--paused")
    triggered = (await schedules("trigger", "upkeep", "--json")).json
    assert triggered["process"].startswith("upkeep-20")
    again = await schedules("trigger", "upkeep")
    assert (again.code, again.err) == (1, f"upkeep is already running as {triggered['process']}; wait until it ends.\n")


async def test_a_backfill_prints_its_times(schedules: Commerce) -> None:
    await schedules("apply", "--paused")
    period = ("--from", "2026-03-01", "--to", "2026-03-02T06:00+01:00")
    ended = await schedules("backfill", "upkeep", *period)
    assert ended == (0, "2 runs of upkeep, for 2026-03-01T03:30:00+00:00 to 2026-03-02T03:30:00+00:00\n", "")
    none = await schedules("backfill", "upkeep", "--from", "2026-03-01", "--to", "2026-03-01T03:30Z", "--json")
    assert json.loads(none.out) == {"id": "upkeep", "nominal_times": []}


async def test_a_backfill_by_days_names_the_days_that_are_counted(schedules: Commerce) -> None:
    await schedules("apply", "--paused")
    job = "collect-analytics-data"
    ended = await schedules("backfill", job, "--days", "2026-03-01..2026-03-02", "--json")
    assert [time[:10] for time in ended.json["nominal_times"]] == ["2026-03-02", "2026-03-03"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upkeep", "--days", "2026-03-01"], "days: only collect-analytics-data counts days"),
        (["collect-analytics-data", "--days", "2026-03-02..2026-03-01"], "days: the last day must not be before"),
        (["collect-analytics-data", "--days", "2026-03-02.."], "days: must be days like 2026-03-01..2026-03-08"),
        (["collect-analytics-data", "--days", "March"], "days: must be days like 2026-03-01..2026-03-08"),
        (["upkeep", "--days", "2026-03-01", "--to", "2026-03-02"], "--days stands alone"),
        (["upkeep", "--to", "2026-03-02"], "name the period with --from and --to, or with --days"),
    ],
)
async def test_invalid_days_are_one_line_and_exit_code_2(
    schedules: Commerce, arguments: list[str], message: str
) -> None:
    ended = await schedules("backfill", *arguments)
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("start", "end", "message"),
    [
        ("yesterday", "2026-03-01", "from: must be a day like 2026-03-01"),
        ("2026-03-01", "2026-03-01T06:00", "to: must be a day like 2026-03-01, or a time with its offset"),
        ("2026-03-02", "2026-03-01", "to: must be later than from"),
    ],
)
async def test_an_invalid_period_is_one_line_and_exit_code_2(
    schedules: Commerce, start: str, end: str, message: str
) -> None:
    await schedules("apply", "--paused")
    ended = await schedules("backfill", "upkeep", "--from", start, "--to", end)
    assert ended.code == 2 and message in ended.err and len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["trigger", "pause", "resume", "backfill"])
async def test_an_unknown_schedule_is_reported_with_the_known_ones(schedules: Commerce, command: str) -> None:
    await schedules("apply", "--paused")
    await until_listed(schedules)
    period = ["--from", "2026-03-01", "--to", "2026-03-02"] if command == "backfill" else []
    ended = await schedules(command, "tidy", *period)
    assert ended.code == 1
    assert ended.err == f"There is no schedule tidy (known: {', '.join(sorted(JOBS))}).\n"


async def test_an_unreachable_server_is_exit_code_3(schedules: Commerce, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    ended = await schedules("list")
    assert ended.code == 3 and "Temporal does not answer at 127.0.0.1:1" in ended.err


async def test_every_command_has_help(schedules: Commerce) -> None:
    for command in ("apply", "list", "trigger", "pause", "resume", "backfill"):
        ended = await schedules(command, "--help")
        assert ended.code == 0 and f"Usage: commerce schedules {command}" in ended.out
