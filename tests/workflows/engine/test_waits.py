"""Test the waits of a saga: each test shows one of their rules (W1 to W6 in docs/rules.md)."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import text
from temporalio import activity
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.boundary.failures import innermost
from activities.sagas import SagaActivities
from activities.waits import WaitActivities
from commerce import waits
from commerce.database import Database
from commerce.messages.notifications import Alert, SendOutcome
from commerce.messages.progress import StepProgress
from commerce.messages.steps import Call
from commerce.messages.waits import Answer, StepAnswer
from tests.polling import until
from tests.workflows.waiting import Errand, ErrandProcess, ErrandSteps
from workflows.engine.search_attributes import SAGA_STATE, WAITING_FOR

Handle = WorkflowHandle[ErrandProcess, int]
CANCELLED = WorkflowExecutionStatus.CANCELED
PICKED = {"units": 3}


class Alerts:
    """Stands in for the activities that alert the admins."""

    def __init__(self) -> None:
        self.keys: list[str] = []

    @activity.defn(name="alert-admins")
    async def alert(self, call: Call[Alert]) -> SendOutcome:
        """Note the alert."""
        self.keys.append(call.input.key)
        return SendOutcome(status="sent")


@dataclass
class ErrandRunner:
    """Run errands on workers of this test."""

    client: Client
    database: Database
    queue: str
    steps: ErrandSteps
    alerts: Alerts = field(default_factory=Alerts)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[None]:
        steps, waiting = self.steps, WaitActivities(self.database)
        methods = [steps.first, steps.reserve, steps.pick, steps.pack, steps.ship, steps.revert]
        methods += [
            waiting.open,
            waiting.close,
            waiting.record,
            self.alerts.alert,
            SagaActivities(self.database).close,
        ]
        # Without a cache, each task replays the run from its start, as on another worker.
        async with Worker(
            self.client,
            task_queue=self.queue,
            workflows=[ErrandProcess],
            activities=methods,
            max_cached_workflows=0,
            max_concurrent_workflow_tasks=2,
            nonsticky_to_sticky_poll_ratio=1,
        ):
            yield

    async def start(self, errand: Errand | None = None, process_id: str | None = None) -> Handle:
        return await self.client.start_workflow(
            ErrandProcess.run, errand or Errand(), id=process_id or f"errand-{uuid4()}", task_queue=self.queue
        )

    async def start_and_wait(self, errand: Errand | None = None) -> Handle:
        handle = await self.start(errand)
        await self.until_waiting(handle)
        return handle

    async def until_waiting(self, handle: Handle, step: str = "pick") -> StepProgress:
        async def waiting() -> StepProgress | None:
            found = [each for each in (await handle.query(ErrandProcess.progress)).steps if each.name == step]
            return found[0] if found and found[0].state == "waiting" else None

        return await until(waiting)

    async def rows(self, handle: Handle) -> list[tuple[Any, ...]]:
        """Return step, round, kind and data of all rounds of a process."""
        query = text("SELECT step, round, kind, data FROM step_waits WHERE business_key = :key ORDER BY asked_at, step")
        async with self.database.transaction() as tx:
            return [tuple(row) for row in await tx.execute(query, {"key": handle.id})]

    async def record(self, handle: Handle, answer: Answer, *, key: str | None = None, step: str = "pick") -> str:
        """Record an answer as the API does, without waking the process; return its digest."""
        async with self.database.transaction() as tx:
            wait = await waits.latest(tx, handle.id, step)
            return (await waits.record(tx, wait, answer, by="test", idempotency_key=key)).digest


@pytest.fixture
def idle(client: Client, database: Database) -> ErrandRunner:
    return ErrandRunner(client, database, f"errands-{uuid4()}", ErrandSteps(database))


@pytest.fixture
async def runner(idle: ErrandRunner) -> AsyncIterator[ErrandRunner]:
    async with idle.worker():
        yield idle


async def answer(handle: Handle, kind: str = "success", step: str = "pick", **more: Any) -> Any:
    """Send the Update as Temporal's UI does: JSON that is no message of ours."""
    body = {"step": step, "answer": kind, **({"data": PICKED} if kind == "success" else {}), **more}
    return await handle.execute_update("answer-step", body)


async def refusal(handle: Handle, *args: Any, **more: Any) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await answer(handle, *args, **more)
    assert isinstance(caught.value.cause, ApplicationError)
    return caught.value.cause


async def failure(handle: Handle) -> BaseException:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    return innermost(caught.value)


async def status(handle: Handle) -> WorkflowExecutionStatus | None:
    return (await handle.describe()).status


async def states(handle: Handle) -> dict[str, str]:
    return {step.name: step.state for step in (await handle.query(ErrandProcess.progress)).steps}


async def test_a_step_waits_until_it_is_answered(runner: ErrandRunner) -> None:  # (W1)
    handle = await runner.start()
    step = await runner.until_waiting(handle)
    assert step.scheduled_at and step.until and 590 < (step.until - step.scheduled_at).total_seconds() <= 600
    attributes = (await handle.describe()).typed_search_attributes
    assert (attributes.get(WAITING_FOR), attributes.get(SAGA_STATE)) == ("pick", "waiting")
    assert await answer(handle) == {"step": "pick", "answer": "success", "round": 1}
    assert await handle.result() == 3
    assert await states(handle) == {"first": "done", "reserve": "done", "pick": "done", "ship": "done"}
    assert await runner.rows(handle) == [("pick", 1, "success", PICKED)]
    attributes = (await handle.describe()).typed_search_attributes
    assert (attributes.get(WAITING_FOR), attributes.get(SAGA_STATE)) == (None, "completed")


async def test_an_answer_may_come_before_the_request_has_returned(runner: ErrandRunner) -> None:  # (W1)
    handle = await runner.start(None, process_id := f"errand-{uuid4()}")
    del handle

    async def answer_at_once() -> None:
        await answer(runner.client.get_workflow_handle_for(ErrandProcess.run, process_id))

    runner.steps.on_ask = answer_at_once
    assert await runner.client.get_workflow_handle_for(ErrandProcess.run, process_id).result() == 3


async def test_a_failure_undoes_everything(runner: ErrandRunner) -> None:  # (W4)
    handle = await runner.start_and_wait()
    await answer(handle, "failure", reason="Not on the shelf")
    failed = await failure(handle)
    assert isinstance(failed, ApplicationError)
    assert (failed.type, failed.message) == ("AnsweredWithFailure", "Step pick was answered with failure.")
    assert await states(handle) == {"first": "done", "reserve": "undone", "pick": "undone"}
    assert +runner.steps.effects == {}


async def test_a_retry_asks_again_as_a_step_of_its_own(runner: ErrandRunner) -> None:  # (W4)
    handle = await runner.start_and_wait()
    await answer(handle, "retry")
    await runner.until_waiting(handle, "pick/2")
    await answer(handle, "failure")
    assert "AnsweredWithFailure" in repr(await failure(handle))
    assert runner.steps.asked == ["pick", "pick/2"]
    assert [row[:3] for row in await runner.rows(handle)] == [("pick", 1, "retry"), ("pick", 2, "failure")]
    assert +runner.steps.effects == {}


async def test_without_an_answer_in_time_everything_is_undone(runner: ErrandRunner) -> None:  # (W5)
    handle = await runner.start(Errand(seconds=0.5))
    failed = await failure(handle)
    assert isinstance(failed, ApplicationError) and failed.type == "Unanswered"
    assert await runner.rows(handle) == [("pick", 1, "expired", None)]
    assert +runner.steps.effects == {}


async def test_without_an_answer_in_time_a_default_counts(runner: ErrandRunner) -> None:  # (W5)
    assert await (await runner.start(Errand(seconds=0.5, default=7))).result() == 7


async def test_the_admins_are_reminded_on_the_way(runner: ErrandRunner) -> None:  # (W5)
    handle = await runner.start(Errand(seconds=2, remind=True))
    await failure(handle)
    assert runner.alerts.keys == [f"not-picked/{handle.result_run_id}/1/{part}" for part in (0.5, 0.9)]


async def test_what_cannot_be_right_is_refused_by_name(runner: ErrandRunner) -> None:  # (W3)
    handle = await runner.start_and_wait()
    assert (await refusal(handle, step="pack")).type == "WaitNotFound"
    assert (await refusal(handle, "success", data={"units": "many"})).type == "BadInput"
    assert (await refusal(handle, "success", data={})).message == "Invalid input: data.units: Field required."
    assert (await refusal(handle, "maybe")).type == "BadInput"
    assert (await refusal(handle, "failure", data=PICKED)).type == "BadInput"
    with pytest.raises(WorkflowUpdateFailedError) as caught:
        await handle.execute_update("answer-step", "yes")
    assert isinstance(caught.value.cause, ApplicationError) and caught.value.cause.type == "BadInput"
    await answer(handle)
    assert await handle.result() == 3


async def test_after_the_answer_others_are_refused(runner: ErrandRunner) -> None:  # (W2, W3)
    handle = await runner.start_and_wait(Errand(parallel=True))
    await runner.until_waiting(handle, "pack")
    await answer(handle)
    assert (await refusal(handle, "failure")).type == "AlreadyAnswered"
    await answer(handle, step="pack", data={"units": 1})
    assert await handle.result() == 4


async def test_an_answer_that_is_recorded_already_counts(runner: ErrandRunner) -> None:  # (W2)
    handle = await runner.start_and_wait()
    digest = await runner.record(handle, Answer(answer="success", data=PICKED), key="k1")
    assert (await refusal(handle, "failure")).type == "AlreadyAnswered"
    taken = await handle.execute_update("answer-step", StepAnswer(step="pick", recorded=digest))
    assert taken == {"step": "pick", "answer": "success", "round": 1}
    assert await handle.result() == 3


async def test_an_answer_recorded_before_the_deadline_counts_whoever_wakes_the_process(
    runner: ErrandRunner,
) -> None:  # (W2)
    handle = await runner.start_and_wait(Errand(seconds=3))
    await runner.record(handle, Answer(answer="success", data=PICKED))
    assert await handle.result() == 3


async def test_a_cancel_ends_the_wait_and_undoes(runner: ErrandRunner) -> None:  # (W6)
    handle = await runner.start_and_wait()
    await handle.cancel()
    with pytest.raises(WorkflowFailureError):
        await handle.result()
    assert await status(handle) == CANCELLED
    assert await runner.rows(handle) == [("pick", 1, "withdrawn", None)]
    assert +runner.steps.effects == {}


async def test_a_refused_request_is_not_waited_for(runner: ErrandRunner) -> None:  # (W6)
    handle = await runner.start(Errand(refused=True))
    assert "CarrierRefused" in repr(await failure(handle))
    assert await runner.rows(handle) == [("pick", 1, "withdrawn", None)]


async def test_a_run_after_a_terminated_one_asks_anew(runner: ErrandRunner) -> None:  # (W6)
    first = await runner.start_and_wait()
    await first.terminate()
    await runner.record(first, Answer(answer="success", data={"units": 9}), key="old")
    second = await runner.start(None, first.id)
    await runner.until_waiting(second)
    assert runner.steps.effects == {"reserve": 1, "pick": 1}
    await answer(second)
    assert await second.result() == 3
    assert [row[2:] for row in await runner.rows(second)] == [("success", {"units": 9}), ("success", PICKED)]


async def test_a_lost_worker_loses_nothing(idle: ErrandRunner) -> None:  # (W6)
    async with idle.worker():
        handle = await idle.start_and_wait()
    digest = await idle.record(handle, Answer(answer="success", data=PICKED))
    async with idle.worker():
        await handle.execute_update("answer-step", StepAnswer(step="pick", recorded=digest))
        assert await handle.result() == 3
    assert idle.steps.asked == ["pick"]


async def test_a_reset_gets_its_answer_again(runner: ErrandRunner) -> None:  # (W6)
    """The reset run waits again, and Temporal applies the Update to it again: it is the same answer."""
    handle = await runner.start_and_wait()
    await answer(handle)
    assert await handle.result() == 3
    events = [event async for event in handle.fetch_history_events()]
    [accepted] = [e for e in events if e.HasField("workflow_execution_update_accepted_event_attributes")]
    before = [e.event_id for e in events if e.HasField("workflow_task_completed_event_attributes")]
    last_before = max(event_id for event_id in before if event_id < accepted.event_id - 1)
    reset = await runner.client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=runner.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=handle.result_run_id),
            workflow_task_finish_event_id=last_before,
            request_id=str(uuid4()),
            reason="test",
        )
    )
    again = runner.client.get_workflow_handle_for(ErrandProcess.run, handle.id, run_id=reset.run_id)
    assert await asyncio.wait_for(again.result(), 30) == 3
    assert runner.steps.effects == {"reserve": 1, "pick": 1, "ship": 1}


async def test_history_holds_the_reason_only_encrypted(runner: ErrandRunner) -> None:
    handle = await runner.start_and_wait()
    await answer(handle, "failure", reason="Ann Jones has moved")
    await failure(handle)
    assert "Ann Jones" not in json.dumps((await handle.fetch_history()).to_json_dict())
