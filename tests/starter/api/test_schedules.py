"""Schedules over HTTP, on a real Temporal server."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from temporalio.client import Client

from starter.schedules.apply import apply_jobs
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from tests.starter.sample_jobs import NIGHTLY, WAITING, Waiting, delete_schedules, worker


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with the schedules of two jobs: one ends at once, one waits for a signal."""
    async with running_shop(tmp_path, database_url, client) as running:
        await apply_jobs(client, [NIGHTLY, WAITING], key_id="a")
        async with worker(client):
            yield running
        await delete_schedules(client, NIGHTLY.id, WAITING.id)


async def find_schedule(http: httpx.AsyncClient, job: str) -> dict[str, Any]:
    async def look() -> dict[str, Any] | None:
        found = (await http.get("/schedules")).json()["schedules"]
        return next((schedule for schedule in found if schedule["id"] == job), None)

    return await until(look)


async def test_schedules_are_listed_with_their_next_and_last_runs(http: httpx.AsyncClient) -> None:
    found = await find_schedule(http, NIGHTLY.id)
    assert found.keys() == {"id", "cron", "zone", "paused", "note", "next_runs", "last_runs", "running", "edited"}
    assert (found["cron"], found["zone"], found["paused"]) == ("0 1 * * *", "UTC", False)
    assert found["next_runs"] and found["last_runs"] == []


async def test_a_job_is_triggered_once_at_a_time(shop: RunningShop, http: httpx.AsyncClient) -> None:
    response = await http.post(f"/schedules/{WAITING.id}/trigger")
    assert (response.status_code, response.json()["id"]) == (202, WAITING.id)

    async def running() -> str | None:
        return next(iter((await find_schedule(http, WAITING.id))["running"]), None)

    process = await until(running)
    assert response.json()["transaction_id"] in (process, None)
    again = await http.post(f"/schedules/{WAITING.id}/trigger")
    assert (again.status_code, again.json()) == (
        409,
        {"error": f"{WAITING.id} is already running as {process}; wait until it ends.", "code": "JobInProgress"},
    )
    await shop.client.get_workflow_handle(process).signal(Waiting.end)


async def test_a_schedule_is_paused_with_a_reason_and_resumed(shop: RunningShop, http: httpx.AsyncClient) -> None:
    response = await http.post(f"/schedules/{NIGHTLY.id}/pause", json={"reason": "The warehouse is closed"})
    assert (response.status_code, response.json()) == (
        200,
        {"id": NIGHTLY.id, "paused": True, "reason": "The warehouse is closed"},
    )
    found = await find_schedule(http, NIGHTLY.id)
    assert (found["paused"], found["note"], found["next_runs"]) == (True, "The warehouse is closed", [])
    response = await http.post(f"/schedules/{NIGHTLY.id}/resume")
    assert (response.status_code, response.json()["paused"]) == (200, False)
    assert not (await find_schedule(http, NIGHTLY.id))["paused"]
    actions = await shop.data.sql("SELECT action, actor FROM operator_actions ORDER BY created_at")
    assert actions == [("pause", "local"), ("resume", "local")]


async def test_a_job_is_run_for_past_days(http: httpx.AsyncClient) -> None:
    response = await http.post(f"/schedules/{NIGHTLY.id}/backfill", json={"from": "2026-03-01", "to": "2026-03-03"})
    assert (response.status_code, response.json()) == (
        202,
        {"id": NIGHTLY.id, "nominal_times": ["2026-03-01T01:00:00Z", "2026-03-02T01:00:00Z"]},
    )

    async def done() -> list[str] | None:
        runs = [run for run in (await find_schedule(http, NIGHTLY.id))["last_runs"] if run["status"] == "completed"]
        return [run["nominal_time"] for run in runs] if len(runs) == 2 else None

    assert await until(done) == response.json()["nominal_times"]


@pytest.mark.parametrize(
    ("span", "field"),
    [
        ({"from": "2026-03-02", "to": "2026-03-02"}, "body.to"),
        ({"from": "1970-01-01", "to": "2026-03-02"}, "body.to"),
        ({"from": "0001-01-01", "to": "2026-03-02"}, "body.from"),
        ({"from": "2026-03-01", "to": "9999-12-31"}, "body.to"),
        ({"from": "2026-03-01T06:00", "to": "2026-03-02"}, "body.from"),
        ({"from": "2026-03-01"}, "body.to"),
    ],
)
async def test_an_invalid_span_is_refused(http: httpx.AsyncClient, span: dict[str, str], field: str) -> None:
    response = await http.post(f"/schedules/{NIGHTLY.id}/backfill", json=span)
    assert response.status_code == 422, response.text
    assert {found["field"].removesuffix(".date").removesuffix(".datetime") for found in response.json()["fields"]} == {
        field
    }


@pytest.mark.parametrize("action", ["trigger", "pause", "resume", "backfill"])
@pytest.mark.parametrize("job", ["unknown-job", "%00", "%F0%9F%91%BB" * 200])
async def test_an_unknown_schedule_is_not_found(http: httpx.AsyncClient, action: str, job: str) -> None:
    body = {"from": "2026-03-01", "to": "2026-03-02"} if action == "backfill" else None
    response = await http.post(f"/schedules/{job}/{action}", json=body)
    assert (response.status_code, response.json()["code"]) == (404, "ScheduleNotFound")
    assert response.json()["error"].startswith("There is no schedule")
