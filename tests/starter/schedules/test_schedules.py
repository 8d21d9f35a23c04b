"""Schedules as code, on a real Temporal server: applied, looked at and worked by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, cast

import pytest
from temporalio.client import Client, Schedule, ScheduleActionStartWorkflow, ScheduleDescription, ScheduleSpec
from temporalio.service import RPCError, RPCStatusCode

from commerce.cron import Preset
from commerce.database import Database
from commerce.errors import BadInput, JobInProgress, MissingKey, ScheduleNotFound, Unreachable
from commerce.messages.schedules import ApplyResult, JobSchedule
from commerce.settings import Settings, load_settings
from starter.client import connect
from starter.schedules.actions import backfill, pause, resume, trigger
from starter.schedules.apply import apply_jobs, apply_schedules
from starter.schedules.queries import find_open_run, list_schedules, list_schedules_with_reasons
from starter.schedules.table import ScheduledJob, action_memo, build_schedule, scheduled_jobs
from tests.keys import ENCRYPTION_ENV, KEY
from tests.polling import until
from tests.starter.sample_jobs import NIGHTLY, QUEUE, WAITING, NoOptions, Waiting, delete_schedules, worker
from workflows.engine.search_attributes import SAGA_STATE

FOREIGN = "somebody-elses"
OURS = {job.id: job for job in scheduled_jobs(Settings())}
CHANGED = replace(NIGHTLY, cron="30 4 * * *")
NEWER_KEY = "YSBrZXkgdGhhdCB0YWtlcyBvdmVyIHNvbWUgZGF5IS4="  # 32 bytes that are no secret


@pytest.fixture
async def clock(client: Client) -> AsyncIterator[Client]:
    """A client of a server without schedules."""
    yield client
    await delete_schedules(client, NIGHTLY.id, WAITING.id, FOREIGN, *OURS)


async def bring(client: Client, *wanted: ScheduledJob, key_id: str = "a", paused: bool = False) -> ApplyResult:
    return await apply_jobs(client, wanted, key_id=key_id, paused=paused)


def became(**outcomes: list[str]) -> ApplyResult:
    return ApplyResult.model_validate({outcome: [] for outcome in ApplyResult.model_fields} | outcomes)


async def description(client: Client, job: ScheduledJob) -> ScheduleDescription:
    return await client.get_schedule_handle(job.id).describe()


async def shown(client: Client, job: ScheduledJob) -> JobSchedule:
    """Return a schedule as it is listed, once it is."""

    async def look() -> JobSchedule | None:
        return next((found for found in await list_schedules(client) if found.id == job.id), None)

    return await until(look)


async def rest(client: Client, job: ScheduledJob, runs: int) -> list[str]:
    """Wait until a schedule has started so many runs and none is open; returns the ids of the last ten."""

    async def look() -> list[str] | None:
        info = (await description(client, job)).raw_description.info
        still = info.action_count >= runs and not info.running_workflows and not info.buffer_size
        return [run.start_workflow_result.workflow_id for run in info.recent_actions] if still else None

    return await until(look)


def test_the_table_is_that_of_the_contract() -> None:
    assert {job.id: (job.cron, job.zone) for job in OURS.values()} == {
        "cleanup-expired-carts": ("0 2 * * *", "UTC"),
        "sync-inventory": ("0 */6 * * *", "UTC"),
        "process-pending-orders": ("*/15 * * * *", "UTC"),
        "collect-analytics-data": ("0 1 * * *", "UTC"),
        "upkeep": ("30 3 * * *", "UTC"),
    }


@pytest.mark.parametrize("job", OURS)
def test_a_setting_moves_its_own_job(job: str) -> None:
    name = f"COMMERCE_CRON_{job.upper().replace('-', '_')}"
    moved = scheduled_jobs(load_settings({name: "monthly_first", "COMMERCE_TIMEZONE": "Europe/London"}))
    assert [found.id for found in moved if found.cron == Preset.MONTHLY_FIRST] == [job]
    assert {found.zone for found in moved} == {"Europe/London"}


@pytest.mark.parametrize(
    "other",
    [
        replace(NIGHTLY, cron="0 2 * * *"),
        replace(NIGHTLY, zone="Europe/London"),
        replace(NIGHTLY, catch_up=timedelta(hours=2)),
        replace(NIGHTLY, note="Counts other sheep"),
        replace(NIGHTLY, queue="another"),
    ],
)
def test_whatever_differs_shows_in_the_fingerprint(other: ScheduledJob) -> None:
    assert action_memo(build_schedule(other, key_id="a")) != action_memo(build_schedule(NIGHTLY, key_id="a"))


def test_the_fingerprint_tells_keys_apart_but_not_a_pause() -> None:
    plain = action_memo(build_schedule(NIGHTLY, key_id="a"))
    assert (
        action_memo(build_schedule(NIGHTLY, key_id="b"))
        != plain
        == action_memo(build_schedule(NIGHTLY, key_id="a", paused=True))
    )


async def test_what_is_missing_is_created_and_then_left_alone(clock: Client) -> None:
    assert await bring(clock, NIGHTLY, WAITING) == became(created=[NIGHTLY.id, WAITING.id])
    assert await bring(clock, NIGHTLY, WAITING) == became(unchanged=[NIGHTLY.id, WAITING.id])
    found = await description(clock, NIGHTLY)
    assert found.info.last_updated_at is None
    assert (found.schedule.state.note, found.schedule.state.paused) == (NIGHTLY.note, False)


@pytest.mark.parametrize(("job", "key_id"), [(CHANGED, "a"), (NIGHTLY, "b")])
async def test_a_changed_line_or_key_is_written_anew(clock: Client, job: ScheduledJob, key_id: str) -> None:
    await bring(clock, NIGHTLY)
    assert await bring(clock, job, key_id=key_id) == became(updated=[NIGHTLY.id])
    assert await bring(clock, job, key_id=key_id) == became(unchanged=[NIGHTLY.id])
    found = await shown(clock, job)
    assert found.cron == job.cron
    assert {(run.hour, run.minute) for run in found.next_runs} == {(1, 0) if job is NIGHTLY else (4, 30)}


async def test_an_operators_pause_outlives_an_update_and_the_reason_stays_here(
    clock: Client, database: Database
) -> None:
    await bring(clock, NIGHTLY)
    await pause(clock, database, NIGHTLY.id, reason="The sheep are ill")
    assert await bring(clock, CHANGED) == became(updated=[NIGHTLY.id])
    assert (await shown(clock, NIGHTLY)).note.startswith("operator action ")
    [found] = [job for job in await list_schedules_with_reasons(clock, database) if job.id == NIGHTLY.id]
    assert (found.paused, found.note, found.cron) == (True, "The sheep are ill", CHANGED.cron)
    assert found.next_runs == []
    await resume(clock, database, NIGHTLY.id, reason="They are well")
    assert not (found := await shown(clock, NIGHTLY)).paused and found.next_runs


async def test_a_reason_of_any_length_is_refused_in_a_word(clock: Client, database: Database) -> None:
    await bring(clock, NIGHTLY)
    with pytest.raises(BadInput, match="reason: "):
        await pause(clock, database, NIGHTLY.id, reason="x" * 1_001)


async def test_schedules_can_be_created_paused_and_stay_so(clock: Client) -> None:
    await bring(clock, NIGHTLY, paused=True)
    assert await bring(clock, NIGHTLY) == became(unchanged=[NIGHTLY.id])
    assert (await description(clock, NIGHTLY)).schedule.state.paused


async def test_a_schedule_that_nobody_wants_is_told_and_left_alone(clock: Client) -> None:
    await bring(clock, NIGHTLY, WAITING)
    await shown(clock, WAITING)
    assert await bring(clock, NIGHTLY) == became(unchanged=[NIGHTLY.id], orphans=[WAITING.id])
    assert not (await description(clock, WAITING)).schedule.state.paused


async def test_the_schedules_of_others_are_no_business_of_ours(clock: Client, database: Database) -> None:
    action = ScheduleActionStartWorkflow("sample-nightly", id=FOREIGN, task_queue=QUEUE)
    await clock.create_schedule(FOREIGN, Schedule(action, ScheduleSpec(cron_expressions=["0 1 * * *"])))

    async def visible() -> bool | None:
        return FOREIGN in [entry.id async for entry in await clock.list_schedules()] or None

    await until(visible)
    assert (await bring(clock, NIGHTLY)).orphans == []
    await shown(clock, NIGHTLY)
    with pytest.raises(ScheduleNotFound, match=rf"^There is no schedule {FOREIGN} \(known: {NIGHTLY.id}\)\.$"):
        await pause(clock, database, FOREIGN, reason="")


async def test_workers_may_apply_at_the_same_time(clock: Client) -> None:
    first = await asyncio.gather(*(bring(clock, NIGHTLY, WAITING) for _ in range(5)))
    assert sorted(job for applied in first for job in applied.created) == [NIGHTLY.id, WAITING.id]
    again = await asyncio.gather(*(bring(clock, CHANGED, WAITING) for _ in range(5)))
    assert {job for applied in again for job in applied.updated} == {NIGHTLY.id}
    assert await bring(clock, CHANGED, WAITING) == became(unchanged=[NIGHTLY.id, WAITING.id])


async def test_temporal_takes_the_jobs_as_the_settings_want_them(clock: Client) -> None:
    settings = load_settings({"COMMERCE_CRON_UPKEEP": "0,30 9-17/2 1-31/2 jan-mar,DEC mon-fri", **ENCRYPTION_ENV})
    assert await apply_schedules(clock, settings, paused=True) == became(created=list(OURS))
    assert await apply_schedules(clock, settings) == became(unchanged=list(OURS))
    in_clear = load_settings(
        {"COMMERCE_CRON_UPKEEP": settings.cron_upkeep, "COMMERCE_ENCRYPTION": "off", **ENCRYPTION_ENV}
    )
    assert await apply_schedules(clock, in_clear) == became(updated=list(OURS))


async def test_after_a_change_of_keys_the_old_one_is_needed_once_more(clock: Client, temporal_server: str) -> None:
    async def apply_with(*keys: str) -> ApplyResult:
        environment = {"TEMPORAL_ADDRESS": temporal_server, "COMMERCE_ENCRYPTION_KEYS": ",".join(keys)}
        return await apply_schedules(await connect(environment), load_settings(environment))

    assert await apply_with(KEY) == became(created=list(OURS))
    with pytest.raises(MissingKey):
        await apply_with(NEWER_KEY)
    assert await apply_with(NEWER_KEY, KEY) == became(updated=list(OURS))
    assert await apply_with(NEWER_KEY) == became(unchanged=list(OURS))


@pytest.mark.parametrize("preset", Preset)
async def test_temporal_takes_every_named_line(clock: Client, preset: Preset) -> None:
    await bring(clock, replace(NIGHTLY, cron=preset.value))
    assert (await shown(clock, NIGHTLY)).cron == preset.value


async def test_a_backfill_runs_each_day_exactly_once_even_while_paused(clock: Client) -> None:
    await bring(clock, NIGHTLY, paused=True)
    async with worker(clock):
        times = await backfill(clock, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 9))
        assert times == [datetime(2026, 3, day, 1, tzinfo=UTC) for day in range(1, 9)]
        processes = await rest(clock, NIGHTLY, runs=8)
    assert processes == [f"{NIGHTLY.id}-2026-03-0{day}T01:00:00Z" for day in range(1, 9)]
    assert (await description(clock, NIGHTLY)).info.num_actions == 8
    told = [await clock.get_workflow_handle(process, result_type=datetime).result() for process in processes]
    assert told == times


async def test_a_backfill_takes_in_its_start_and_leaves_out_its_end(clock: Client) -> None:
    await bring(clock, NIGHTLY, paused=True)
    first, tick = datetime(2026, 4, 1, 1, tzinfo=UTC), timedelta(microseconds=1)
    async with worker(clock):
        assert await backfill(clock, NIGHTLY.id, first, first + timedelta(days=1)) == [first]
        assert await backfill(clock, NIGHTLY.id, first + tick, first + timedelta(days=1)) == []
        assert await backfill(clock, NIGHTLY.id, first - tick, first) == []
        processes = await rest(clock, NIGHTLY, runs=1)
    assert processes == [f"{NIGHTLY.id}-2026-04-01T01:00:00Z"]


async def test_the_days_of_a_backfill_are_those_of_the_jobs_zone(clock: Client) -> None:
    await bring(clock, replace(NIGHTLY, zone="Pacific/Auckland"), paused=True)
    async with worker(clock):
        times = await backfill(clock, NIGHTLY.id, date(2026, 7, 1), date(2026, 7, 2))
        await rest(clock, NIGHTLY, runs=1)
    assert times == [datetime(2026, 6, 30, 13, tzinfo=UTC)]


async def test_a_backfill_leaves_what_is_to_come_to_the_schedule(clock: Client) -> None:
    await bring(clock, NIGHTLY, paused=True)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    assert await backfill(clock, NIGHTLY.id, tomorrow, tomorrow + timedelta(days=9)) == []


@pytest.mark.parametrize(
    ("cron", "days", "complaint"),
    [("0 1 * * *", 0, "to: must be later than from"), ("* * * * *", 1, "to: must leave fewer than 1000 runs")],
)
async def test_a_backfill_of_nothing_or_of_too_much_is_refused(
    clock: Client, cron: str, days: int, complaint: str
) -> None:
    await bring(clock, replace(NIGHTLY, cron=cron), paused=True)
    with pytest.raises(BadInput, match=complaint):
        await backfill(clock, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 1) + timedelta(days=days))


@pytest.mark.parametrize(
    ("cron", "day", "hours"),
    [("0 1 * * *", date(2025, 11, 2), [5, 6]), ("0 2 * * *", date(2026, 3, 8), [])],
    ids=["twice when the clock goes back", "not at all when it goes forward"],
)
async def test_in_the_hour_of_a_clock_change_a_job_runs(clock: Client, cron: str, day: date, hours: list[int]) -> None:
    await bring(clock, replace(NIGHTLY, cron=cron, zone="America/New_York"), paused=True)
    async with worker(clock):
        times = await backfill(clock, NIGHTLY.id, day, day + timedelta(days=1))
        assert [time.hour for time in times] == hours  # in UTC
        assert len(await rest(clock, NIGHTLY, runs=len(hours))) == len(hours)


async def test_a_job_is_not_triggered_while_it_runs(clock: Client) -> None:
    await bring(clock, WAITING, paused=True)
    assert await find_open_run(clock, WAITING.id) is None
    async with worker(clock):
        process = await trigger(clock, WAITING.id)
        assert process and await find_open_run(clock, WAITING.id) == process
        with pytest.raises(JobInProgress, match=f"^{WAITING.id} is already running as {process}; wait until it ends.$"):
            await trigger(clock, WAITING.id)
        run = clock.get_workflow_handle_for(Waiting.run, process)
        assert (await run.describe()).typed_search_attributes[SAGA_STATE] == "running"
        await run.signal(Waiting.end)
        await run.result()
        assert await find_open_run(clock, WAITING.id) is None
    assert (await description(clock, WAITING)).info.num_actions == 1


async def test_a_job_is_not_triggered_while_it_runs_by_hand(clock: Client) -> None:
    await bring(clock, WAITING)
    run = await clock.start_workflow(Waiting.run, NoOptions(), id=WAITING.id, task_queue=QUEUE)
    assert await find_open_run(clock, WAITING.id) == WAITING.id
    with pytest.raises(JobInProgress):
        await trigger(clock, WAITING.id)
    await run.terminate()
    assert await find_open_run(clock, WAITING.id) is None


async def test_a_job_without_a_schedule_may_run_too(clock: Client) -> None:
    assert await find_open_run(clock, WAITING.id) is None
    await clock.start_workflow(Waiting.run, NoOptions(), id=WAITING.id, task_queue=QUEUE)
    assert await find_open_run(clock, WAITING.id) == WAITING.id


async def test_what_ran_is_listed(clock: Client) -> None:
    await bring(clock, WAITING)
    async with worker(clock):
        process = await trigger(clock, WAITING.id)
        open_ = await shown(clock, WAITING)
        assert process and (open_.running, open_.last_runs[-1].status) == ([process], "running")
        await clock.get_workflow_handle_for(Waiting.run, process).terminate()
        ended = await shown(clock, WAITING)
    assert (ended.running, ended.last_runs[-1].status) == ([], "terminated")
    assert ended.last_runs[-1].process == process
    assert json.loads(ended.model_dump_json())["zone"] == "UTC"


class AwayClient:
    """Stands in for a Temporal that does not answer."""

    def get_schedule_handle(self, _id: str) -> "AwayClient":
        return self

    async def describe(self, **_options: Any) -> None:
        raise RPCError("not now", RPCStatusCode.UNAVAILABLE, b"")

    async def list_schedules(self, **_options: Any) -> None:
        await self.describe()

    async def create_schedule(self, *_args: Any, **_options: Any) -> None:
        await self.describe()


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: bring(client, NIGHTLY),
        list_schedules,
        lambda client: find_open_run(client, NIGHTLY.id),
        lambda client: trigger(client, NIGHTLY.id),
        lambda client: backfill(client, NIGHTLY.id, date(2026, 3, 1), date(2026, 3, 2)),
    ],
)
async def test_a_server_that_does_not_answer_is_told_in_one_line(ask: Callable[[Client], Awaitable[object]]) -> None:
    with pytest.raises(Unreachable, match=r"^Temporal does not [^\n]*: not now\.$"):
        await ask(cast(Client, AwayClient()))
