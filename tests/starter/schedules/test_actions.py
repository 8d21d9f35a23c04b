"""Operators' actions and lists of schedules, on a real Temporal server."""

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from commerce.database import Database
from commerce.errors import BadInput, JobInProgress, Unreachable
from starter.schedules.actions import backfill, pause, trigger
from starter.schedules.queries import find_open_run, list_schedules
from tests.polling import until
from tests.starter.sample_jobs import NIGHTLY, QUEUE, WAITING, NoOptions, Waiting, worker
from tests.starter.schedules.conftest import apply, description, get_listed, wait_for_runs
from workflows.engine.search_attributes import SAGA_STATE


async def test_a_reason_that_is_too_long_is_refused(client: Client, database: Database) -> None:
    await apply(client, NIGHTLY)
    with pytest.raises(BadInput, match="reason: "):
        await pause(client, database, NIGHTLY.id, reason="x" * 1_001)


async def test_a_backfill_runs_each_day_exactly_once_even_while_paused(client: Client) -> None:
    await apply(client, NIGHTLY, paused=True)
    async with worker(client):
        times = await backfill(client, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 9))
        assert times == [datetime(2026, 3, day, 1, tzinfo=UTC) for day in range(1, 9)]
        processes = await wait_for_runs(client, NIGHTLY, runs=8)
    assert processes == [f"{NIGHTLY.id}-2026-03-0{day}T01:00:00Z" for day in range(1, 9)]
    assert (await description(client, NIGHTLY)).info.num_actions == 8
    results = [await client.get_workflow_handle(process, result_type=datetime).result() for process in processes]
    assert results == times


async def test_a_backfill_includes_its_start_and_excludes_its_end(client: Client) -> None:
    await apply(client, NIGHTLY, paused=True)
    first, moment = datetime(2026, 4, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    async with worker(client):
        assert await backfill(client, NIGHTLY.id, first, first + timedelta(days=1)) == [first]
        assert await backfill(client, NIGHTLY.id, first + moment, first + timedelta(days=1)) == []
        assert await backfill(client, NIGHTLY.id, first - moment, first) == []
        processes = await wait_for_runs(client, NIGHTLY, runs=1)
    assert processes == [f"{NIGHTLY.id}-2026-04-01T01:00:00Z"]


async def test_the_days_of_a_backfill_are_in_the_jobs_time_zone(client: Client) -> None:
    await apply(client, replace(NIGHTLY, zone="Pacific/Auckland"), paused=True)
    async with worker(client):
        times = await backfill(client, NIGHTLY.id, date(2026, 7, 1), date(2026, 7, 2))
        await wait_for_runs(client, NIGHTLY, runs=1)
    assert times == [datetime(2026, 6, 30, 13, tzinfo=UTC)]


async def test_a_backfill_leaves_future_times_to_the_schedule(client: Client) -> None:
    await apply(client, NIGHTLY, paused=True)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await backfill(client, NIGHTLY.id, tomorrow, tomorrow + timedelta(days=9)) == []


@pytest.mark.parametrize(
    ("cron", "days", "complaint"),
    [
        ("0 1 * * *", 0, "to: must be later than from"),
        ("* * * * *", 1, "to: must span at most 100 runs"),
        ("0 * * * *", 5, "to: must span at most 100 runs"),
    ],
)
async def test_an_empty_or_too_long_backfill_is_refused(client: Client, cron: str, days: int, complaint: str) -> None:
    await apply(client, replace(NIGHTLY, cron=cron), paused=True)
    with pytest.raises(BadInput, match=complaint):
        await backfill(client, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 1) + timedelta(days=days))


async def test_pausing_drops_the_waiting_runs_of_a_backfill(client: Client, database: Database) -> None:
    await apply(client, WAITING)
    days = date(2026, 3, 1), date(2026, 4, 1)
    async with worker(client):
        times = await backfill(client, WAITING.id, *days)

        async def first_run() -> str | None:
            info = (await description(client, WAITING)).raw_description.info
            running = [run.workflow_id for run in info.running_workflows]
            return running[0] if running and info.buffer_size else None

        process = await until(first_run)
        with pytest.raises(BadInput, match="from: runs still wait: let them end, or pause the job to drop them"):
            await backfill(client, WAITING.id, *days)
        before = await description(client, WAITING)
        await pause(client, database, WAITING.id, reason="too many")
        after = await description(client, WAITING)
        assert after.raw_description.info.buffer_size == 0
        assert after.schedule.state.paused and after.schedule.state.note
        assert after.raw_description.schedule.action == before.raw_description.schedule.action
        assert after.raw_description.schedule.spec == before.raw_description.schedule.spec
        assert after.raw_description.schedule.policies == before.raw_description.schedule.policies
        assert after.raw_description.memo == before.raw_description.memo
        run = client.get_workflow_handle_for(Waiting.run, process)
        assert (await run.describe()).status == WorkflowExecutionStatus.RUNNING
        await run.signal(Waiting.end)
        await run.result()
        assert not (await description(client, WAITING)).raw_description.info.action_count  # none was started since
        assert process == f"{WAITING.id}-{times[0]:%Y-%m-%dT%H:%M:%SZ}"


@pytest.mark.parametrize(
    ("cron", "day", "hours"),
    [("0 1 * * *", date(2025, 11, 2), [5, 6]), ("0 2 * * *", date(2026, 3, 8), [])],
    ids=["twice when the clocks go back", "not at all when they go forward"],
)
async def test_a_job_in_the_hour_of_a_clock_change_runs(client: Client, cron: str, day: date, hours: list[int]) -> None:
    await apply(client, replace(NIGHTLY, cron=cron, zone="America/New_York"), paused=True)
    async with worker(client):
        times = await backfill(client, NIGHTLY.id, day, day + timedelta(days=1))
        assert [time.hour for time in times] == hours  # in UTC
        assert len(await wait_for_runs(client, NIGHTLY, runs=len(hours))) == len(hours)


async def test_a_running_job_is_not_triggered(client: Client) -> None:
    await apply(client, WAITING, paused=True)
    assert await find_open_run(client, WAITING.id) is None
    async with worker(client):
        process = await trigger(client, WAITING.id)
        assert process and await find_open_run(client, WAITING.id) == process
        with pytest.raises(JobInProgress, match=f"^{WAITING.id} is already running as {process}; wait until it ends.$"):
            await trigger(client, WAITING.id)
        run = client.get_workflow_handle_for(Waiting.run, process)
        assert (await run.describe()).typed_search_attributes[SAGA_STATE] == "running"
        await run.signal(Waiting.end)
        await run.result()
        assert await find_open_run(client, WAITING.id) is None
    assert (await description(client, WAITING)).info.num_actions == 1


async def test_a_job_started_by_hand_is_not_triggered(client: Client) -> None:
    await apply(client, WAITING)
    run = await client.start_workflow(Waiting.run, NoOptions(), id=WAITING.id, task_queue=QUEUE)
    assert await find_open_run(client, WAITING.id) == WAITING.id
    with pytest.raises(JobInProgress):
        await trigger(client, WAITING.id)
    await run.terminate()
    assert await find_open_run(client, WAITING.id) is None


async def test_an_open_run_of_a_job_without_a_schedule_is_found(client: Client) -> None:
    assert await find_open_run(client, WAITING.id) is None
    await client.start_workflow(Waiting.run, NoOptions(), id=WAITING.id, task_queue=QUEUE)
    assert await find_open_run(client, WAITING.id) == WAITING.id


async def test_open_and_ended_runs_are_listed(client: Client) -> None:
    await apply(client, WAITING)
    async with worker(client):
        process = await trigger(client, WAITING.id)
        open_ = await get_listed(client, WAITING)
        assert process and (open_.running, open_.last_runs[-1].status) == ([process], "running")
        await client.get_workflow_handle_for(Waiting.run, process).terminate()
        ended = await get_listed(client, WAITING)
    assert (ended.running, ended.last_runs[-1].status) == ([], "terminated")
    assert ended.last_runs[-1].process == process
    assert json.loads(ended.model_dump_json())["zone"] == "UTC"


class UnavailableClient:
    """A client of a Temporal server that is unavailable."""

    def get_schedule_handle(self, _id: str) -> "UnavailableClient":
        return self

    async def describe(self, **_options: Any) -> None:
        raise RPCError("not now", RPCStatusCode.UNAVAILABLE, b"")

    async def list_schedules(self, **_options: Any) -> None:
        await self.describe()

    async def create_schedule(self, *_args: Any, **_options: Any) -> None:
        await self.describe()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: apply(client, NIGHTLY),
        list_schedules,
        lambda client: find_open_run(client, NIGHTLY.id),
        lambda client: trigger(client, NIGHTLY.id),
        lambda client: backfill(client, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 2)),
    ],
)
async def test_an_unavailable_server_is_a_one_line_error(call: Callable[[Client], Awaitable[object]]) -> None:
    with pytest.raises(Unreachable, match=r"^Temporal could not [^\n]*: not now\.$"):
        await call(cast(Client, UnavailableClient()))
