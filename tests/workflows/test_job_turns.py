"""Test that at most one run of a job works at a time, whatever started the runs."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError

from commerce.messages.analytics import Analytics
from commerce.messages.carts import CleanUpCarts
from commerce.messages.jobs import JobInput
from commerce.messages.progress import Progress
from starter.processes import TASK_QUEUE
from tests.faults import Faults, Gate, ShortBackoff
from tests.polling import until
from tests.running_shop import RunningShop, running_shop
from workflows.engine import job

CLEAN_UP, ANALYTICS = "cleanup-expired-carts", "collect-analytics-data"
A_MONTH_AGO = datetime.now(UTC) - timedelta(days=30)
INSERT_CARTS = """
    INSERT INTO carts (id, currency, created_at, updated_at)
    SELECT 'C' || n, 'GBP', :at, :at FROM generate_series(1, 3) AS n
"""

AGE_TURNS = """
    UPDATE process_generations SET started_at = started_at - interval '3 years' WHERE business_key LIKE 'job/%'
"""


@pytest.fixture
async def shop(tmp_path: Path, database_url: str, client: Client) -> AsyncIterator[RunningShop]:
    """A shop with three expired carts. The test starts the worker."""
    async with running_shop(tmp_path, database_url, client) as shop:
        await shop.data.sql(INSERT_CARTS, at=A_MONTH_AGO)
        yield shop


async def start_run(
    shop: RunningShop, kind: str = CLEAN_UP, options: JobInput | None = None
) -> WorkflowHandle[Any, Any]:
    """Start a run of a job under an id of its own, as a schedule with the overlap policy "Allow All" does."""
    return await shop.client.start_workflow(
        kind, options or JobInput(), id=f"{kind}-{uuid4().hex}", task_queue=TASK_QUEUE
    )


async def expect_refusal(run: WorkflowHandle[Any, Any], other: WorkflowHandle[Any, Any]) -> None:
    """Wait until a run fails because another run of its job is at work."""
    with pytest.raises(WorkflowFailureError) as caught:
        await run.result()
    failure = caught.value.cause
    assert isinstance(failure, ApplicationError)
    assert (failure.type, failure.message) == (
        "JobInProgress",
        f"{CLEAN_UP} is already running as {other.id}; wait until it ends.",
    )


async def test_a_run_fails_at_once_while_another_run_of_its_job_is_at_work(shop: RunningShop) -> None:  # (J3)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        first = await start_run(shop)
        await gate.reached.wait()
        await expect_refusal(await start_run(shop), first)
        await expect_refusal(await start_run(shop), first)
        gate.opened.set()
        assert (await first.result())["changed"] == 3
        assert (await (await start_run(shop)).result())["seen"] == 0
    assert shop.mails("job-failure") == []


async def test_of_two_runs_that_begin_at_the_same_time_one_works(shop: RunningShop) -> None:  # (J3)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        runs = [await start_run(shop) for _ in range(4)]
        await gate.reached.wait()

        async def ended() -> list[WorkflowHandle[Any, Any]] | None:
            running = [run for run in runs if (await run.describe()).close_time is None]
            return running if len(running) == 1 else None

        [working] = await until(ended)
        for run in runs:
            if run is not working:
                await expect_refusal(run, working)
        gate.opened.set()
        assert (await working.result())["changed"] == 3


async def test_runs_of_different_jobs_work_at_the_same_time(shop: RunningShop) -> None:
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        first = await start_run(shop)
        await gate.reached.wait()
        await (await start_run(shop, "upkeep")).result()
        gate.opened.set()
        await first.result()


@pytest.mark.parametrize("ending", ["terminated", "cancelled", "failed"])
async def test_a_run_works_after_another_run_of_its_job_has_ended_in_any_way(shop: RunningShop, ending: str) -> None:
    gate, faults = Gate("delete-expired-carts"), Faults({})
    async with shop.worker([gate, faults, ShortBackoff()]):
        first = await start_run(shop)
        await gate.reached.wait()
        if ending == "terminated":
            await first.terminate()
        elif ending == "cancelled":
            await first.cancel()
        else:
            faults.steps["delete-expired-carts"] = "before"
        gate.opened.set()
        with pytest.raises(WorkflowFailureError):
            await first.result()
        faults.steps.clear()
        assert (await first.describe()).status != WorkflowExecutionStatus.RUNNING
        assert (await (await start_run(shop)).result())["failed"] == 0
    assert await shop.data.sql("SELECT count(*) FROM carts") == [0]


async def test_a_job_that_continues_as_a_new_run_keeps_its_turn(
    shop: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:  # (J4)
    monkeypatch.setattr(job, "MAX_HISTORY_EVENTS", 1)
    gate, outage = Gate("delete-expired-carts"), Faults({}, permanent=False, error="DatabaseUnavailable")
    async with shop.worker([outage, gate, ShortBackoff()]):
        first = await start_run(shop, options=CleanUpCarts(batch=1))
        await gate.reached.wait()
        outage.steps["delete-expired-carts"] = "before"  # from the second batch on
        gate.opened.set()

        async def continued() -> bool | None:
            latest = await shop.client.get_workflow_handle(first.id).describe()
            return latest.run_id != first.first_execution_run_id or None

        await until(continued)
        await expect_refusal(await start_run(shop), first)
        outage.steps.clear()
        assert (await first.result())["changed"] == 3


async def test_upkeep_keeps_the_turn_of_a_run_that_has_worked_for_years(shop: RunningShop) -> None:  # (E17)
    async with shop.worker([gate := Gate("delete-expired-carts")]):
        first = await start_run(shop)
        await gate.reached.wait()
        await shop.data.sql(AGE_TURNS)
        await (await start_run(shop, "upkeep")).result()
        await expect_refusal(await start_run(shop), first)
        gate.opened.set()
        await first.result()


async def test_runs_that_count_different_days_wait_for_each_other(
    shop: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:  # (J3, J5)
    monkeypatch.setattr(job, "TURN_PAUSE", timedelta(seconds=0.2))
    days = [date(2026, 3, day) for day in (2, 3, 4)]
    async with shop.worker([gate := Gate("collect-day")]):
        runs = [await start_run(shop, ANALYTICS, Analytics(date=days[0]))]
        await gate.reached.wait()
        runs += [await start_run(shop, ANALYTICS, Analytics(date=day)) for day in days[1:]]
        for run in runs[1:]:
            await until(lambda run=run: waits_for(run, runs[0]))  # type: ignore[misc]
        assert await shop.data.sql("SELECT count(*) FROM daily_metrics") == [0]
        gate.opened.set()
        results = [await run.result() for run in runs]
    assert [result["day"] for result in results] == [day.isoformat() for day in days]
    assert shop.mails("job-failure") == []


async def waits_for(run: WorkflowHandle[Any, Any], other: WorkflowHandle[Any, Any]) -> bool | None:
    progress = await run.query("progress", result_type=Progress)
    return progress.steps[0].note == f"waits until {other.id} ends" or None


async def test_waiting_for_a_turn_uses_up_no_tries(shop: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:  # (J2)
    monkeypatch.setattr(job, "TURN_PAUSE", timedelta(seconds=0.05))
    faults, gate = Faults({}, permanent=False, times=1), Gate("collect-day")
    async with shop.worker([faults, gate, ShortBackoff()]):
        first = await start_run(shop, ANALYTICS)
        await gate.reached.wait()
        second = await start_run(shop, ANALYTICS)

        async def asked_often() -> bool | None:
            events = [event async for event in second.fetch_history_events()]
            return sum(event.HasField("activity_task_failed_event_attributes") for event in events) >= 3 or None

        await until(asked_often)
        faults.steps["collect-day"] = "before"
        gate.opened.set()
        await first.result()
        await second.result()
    assert faults.refused == 1


async def test_a_run_that_waits_for_its_turn_can_be_cancelled(shop: RunningShop) -> None:
    async with shop.worker([gate := Gate("collect-day")]):
        first = await start_run(shop, ANALYTICS)
        await gate.reached.wait()
        second = await start_run(shop, ANALYTICS)
        await until(lambda: waits_for(second, first))
        await second.cancel()
        with pytest.raises(WorkflowFailureError):
            await second.result()
        assert (await second.describe()).status == WorkflowExecutionStatus.CANCELED
        gate.opened.set()
        await first.result()
