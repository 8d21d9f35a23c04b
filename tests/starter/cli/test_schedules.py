"""`commerce schedules …`: what it prints, for people and for programs, and its exit codes."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from temporalio.client import Client

from commerce.settings import Settings
from starter.cli.app import run
from starter.schedules.table import scheduled_jobs
from tests.keys import ENCRYPTION_ENV
from tests.polling import until
from tests.starter.sample_jobs import delete_schedules

OURS = [job.id for job in scheduled_jobs(Settings())]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Schedules = Callable[..., Awaitable[Outcome]]


@pytest.fixture
async def schedules(
    client: Client,
    temporal_server: str,
    database_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> AsyncIterator[Schedules]:
    """Run a command as a program of its own would, on a server without schedules."""
    monkeypatch.chdir(tmp_path)
    environment = {"TEMPORAL_ADDRESS": temporal_server, "COMMERCE_DATABASE_URL": database_url, **ENCRYPTION_ENV}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    async def call(*arguments: str) -> Outcome:
        capsys.readouterr()
        code = await asyncio.to_thread(run, ["schedules", *arguments])
        return Outcome(code, *capsys.readouterr())

    yield call
    await delete_schedules(client, *OURS)


async def until_listed(schedules: Schedules) -> list[dict[str, Any]]:
    async def look() -> list[dict[str, Any]] | None:
        found = json.loads((await schedules("list", "--json")).out)
        return sorted(found, key=lambda schedule: OURS.index(schedule["id"])) if len(found) == len(OURS) else None

    return await until(look)


async def test_what_is_applied_is_told_and_listed(schedules: Schedules, monkeypatch: pytest.MonkeyPatch) -> None:
    applied = await schedules("apply", "--paused")
    assert applied.code == 0 and applied.out.splitlines() == [f"  created  {job}" for job in OURS]
    again = json.loads((await schedules("apply", "--json")).out)
    assert again == {"created": [], "updated": [], "unchanged": OURS, "orphans": []}
    assert [found["paused"] for found in await until_listed(schedules)] == [True] * len(OURS)
    monkeypatch.setenv("COMMERCE_CRON_UPKEEP", "weekly_sunday")
    assert "  updated  upkeep" in (await schedules("apply")).out
    told = (await schedules("list")).out
    assert "0 3 * * 0, UTC" in told and "paused" in told


async def test_a_job_is_paused_and_resumed(schedules: Schedules) -> None:
    await schedules("apply")
    assert await schedules("pause", "upkeep", "--reason", "Disk is full") == (0, "upkeep is paused\n", "")
    [*_, upkeep] = await until_listed(schedules)
    assert (upkeep["id"], upkeep["paused"], upkeep["note"], upkeep["next_runs"]) == ("upkeep", True, "Disk is full", [])
    resumed = json.loads((await schedules("resume", "upkeep", "--json")).out)
    assert resumed == {"id": "upkeep", "paused": False, "reason": "by hand"}


async def test_a_job_is_triggered_once(schedules: Schedules) -> None:
    await schedules("apply", "--paused")
    told = json.loads((await schedules("trigger", "upkeep", "--json")).out)
    assert told["process"].startswith("upkeep-20")
    again = await schedules("trigger", "upkeep")
    assert (again.code, again.err) == (1, f"upkeep is already running as {told['process']}; wait until it ends.\n")


async def test_a_backfill_tells_its_times(schedules: Schedules) -> None:
    await schedules("apply", "--paused")
    span = ("--from", "2026-03-01", "--to", "2026-03-02T06:00+01:00")
    ended = await schedules("backfill", "upkeep", *span)
    assert ended == (0, "2 runs of upkeep, for 2026-03-01T03:30:00+00:00 to 2026-03-02T03:30:00+00:00\n", "")
    none = await schedules("backfill", "upkeep", "--from", "2026-03-01", "--to", "2026-03-01T03:30Z", "--json")
    assert json.loads(none.out) == {"id": "upkeep", "nominal_times": []}


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        ("yesterday", "2026-03-01", "from: must be a day like 2026-03-01"),
        ("2026-03-01", "2026-03-01T06:00", "to: must be a day like 2026-03-01, or a time with its offset"),
        ("2026-03-02", "2026-03-01", "to: must be later than from"),
    ],
)
async def test_a_wrong_span_is_one_line_and_exit_code_2(schedules: Schedules, start: str, end: str, says: str) -> None:
    await schedules("apply", "--paused")
    ended = await schedules("backfill", "upkeep", "--from", start, "--to", end)
    assert ended.code == 2 and says in ended.err and len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("command", ["trigger", "pause", "resume", "backfill"])
async def test_an_unknown_job_is_told_with_the_known_ones(schedules: Schedules, command: str) -> None:
    await schedules("apply", "--paused")
    await until_listed(schedules)
    span = ["--from", "2026-03-01", "--to", "2026-03-02"] if command == "backfill" else []
    ended = await schedules(command, "tidy", *span)
    assert ended.code == 1
    assert ended.err == f"There is no schedule tidy (known: {', '.join(sorted(OURS))}).\n"


async def test_a_server_that_is_away_is_exit_code_3(schedules: Schedules, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    ended = await schedules("list")
    assert ended.code == 3 and "Temporal does not answer at 127.0.0.1:1" in ended.err


async def test_every_command_has_help(schedules: Schedules) -> None:
    for command in ("apply", "list", "trigger", "pause", "resume", "backfill"):
        ended = await schedules(command, "--help")
        assert ended.code == 0 and f"Usage: commerce schedules {command}" in ended.out
