"""Test the saga: each test shows one of the engine's rules (E1 to E18 in docs/rules.md)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Literal
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.boundary.failures import cause, innermost
from activities.sagas import SagaActivities
from commerce import ledger
from commerce.database import Database
from commerce.errors import CarrierRefused, StaleGeneration
from commerce.messages.progress import Progress
from commerce.messages.steps import Call, StepKey
from tests.workflows.processes import BuggyProcess, Done, RepairedProcess, Script, ScriptedProcess, ScriptedSteps, Step

FAILED, CANCELLED = WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.CANCELED
Handle = WorkflowHandle[ScriptedProcess, list[str]]


LOCAL = Step(name="one", local=True), Step(name="second", local=True)


@dataclass
class ScriptRunner:
    """Run scripts on a worker and record what their steps did."""

    client: Client
    queue: str
    steps: ScriptedSteps
    database: Database

    async def start(self, *steps: Step, id: str | None = None) -> Handle:  # noqa: A002
        script = Script(steps=steps)
        return await self.client.start_workflow(
            ScriptedProcess.run, script, id=id or f"scripted-{uuid4()}", task_queue=self.queue
        )

    async def run(self, *steps: Step, id: str | None = None) -> Handle:  # noqa: A002
        """Start a script and wait until its run ends, successfully or not."""
        handle = await self.start(*steps, id=id)
        await asyncio.gather(handle.result(), return_exceptions=True)
        return handle

    def worker(self, *processes: type) -> Worker:
        """Create a worker for this task queue."""
        sagas = SagaActivities(self.database)
        methods = [self.steps.first, self.steps.do, self.steps.undo, sagas.close]
        return Worker(self.client, task_queue=self.queue, workflows=processes or [ScriptedProcess], activities=methods)

    @property
    def remaining_effects(self) -> dict[str, int]:
        """The effects that were not undone, with their counts."""
        return {name: count for name, count in self.steps.effects.items() if count}


@pytest.fixture
async def runner(client: Client, database: Database) -> AsyncIterator[ScriptRunner]:
    runner = ScriptRunner(client, f"scripted-{uuid4()}", ScriptedSteps(database), database)
    async with runner.worker():
        yield runner
        runner.steps.slow_may_continue.set()


async def status(handle: Handle) -> WorkflowExecutionStatus | None:
    return (await handle.describe()).status


async def progress(handle: Handle) -> Progress:
    return await handle.query(ScriptedProcess.progress)


async def states(handle: Handle) -> dict[str, str]:
    return {step.name: step.state for step in (await progress(handle)).steps}


def keys(runner: ScriptRunner) -> list[str]:
    return sorted(runner.steps.keys)


async def done() -> Done:
    return Done(name="lost", attempt=1)


def is_task_completed(event: HistoryEvent) -> bool:
    return event.HasField("workflow_task_completed_event_attributes")


async def failure(handle: Handle) -> BaseException:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert caught.value.cause is not None
    return caught.value.cause


async def wait_until(check: Callable[[], bool], deadline: float = 15) -> None:
    async with asyncio.timeout(deadline):
        while not check():  # noqa: ASYNC110 - polls a server
            await asyncio.sleep(0.01)


A, B, C = Step(name="a"), Step(name="b"), Step(name="c")
REFUSED = Step(name="refused", fails=-1)


async def test_steps_run_in_order_with_their_own_keys(runner: ScriptRunner) -> None:  # (E1)
    handle = await runner.run(A, B, C)
    assert await handle.result() == ["a", "b", "c"]
    assert runner.steps.journal == ["do a 1", "do b 1", "do c 1"]
    run = handle.first_execution_run_id
    assert runner.steps.keys == {f"{handle.id}/{name}/{run}" for name in "abc"}
    assert (await progress(handle)).state == "completed"


async def test_a_transient_error_is_retried_and_the_effect_happens_once(runner: ScriptRunner) -> None:  # (E3)
    await runner.run(Step(name="flaky", fails=3))
    assert runner.steps.journal == ["do flaky 1", "do flaky 2", "do flaky 3", "do flaky 4"]
    assert runner.remaining_effects == {"flaky": 1}


async def test_a_step_ends_with_the_last_try_that_its_policy_allows(runner: ScriptRunner) -> None:  # (E3)
    handle = await runner.run(A, Step(name="failing", fails=100, tries=4))
    assert runner.steps.journal[1:] == [*(f"do failing {number}" for number in range(1, 5)), "undo failing", "undo a"]
    error = innermost(await failure(handle))
    assert isinstance(error, ApplicationError) and error.type == "CarrierUnavailable"


async def test_a_service_that_is_down_uses_up_no_try(runner: ScriptRunner) -> None:  # (E3)
    handle = await runner.run(Step(name="patient", outages=3, fails=1, tries=2), REFUSED)
    assert runner.steps.journal[:6] == [*(f"do patient {number}" for number in range(1, 6)), "do refused 1"]
    assert await status(handle) == FAILED


async def test_an_undo_waits_for_a_service_that_is_down(runner: ScriptRunner) -> None:  # (E6)
    handle = await runner.run(Step(name="a", undo_outages=2), REFUSED)
    assert runner.steps.journal[2:] == ["undo refused", "undo a", "undo a", "undo a"]
    assert runner.remaining_effects == {}
    assert (await progress(handle)).state == "compensated"


async def test_a_permanent_error_is_not_retried_and_all_steps_are_undone_in_reverse_order(
    runner: ScriptRunner,
) -> None:  # (E2, E3)
    handle = await runner.run(A, B, REFUSED, C)
    assert await status(handle) == FAILED
    assert runner.steps.journal == ["do a 1", "do b 1", "do refused 1", "undo refused", "undo b", "undo a"]
    assert runner.remaining_effects == {}
    error = cause(await failure(handle), CarrierRefused)
    assert error is not None and error.code == "SCRIPT"
    assert await states(handle) == {"first": "done", "a": "undone", "b": "undone", "refused": "undone"}
    assert (await progress(handle)).state == "compensated"


async def test_an_undo_succeeds_when_its_step_never_happened_or_its_result_was_lost(
    runner: ScriptRunner,
) -> None:  # (E2)
    lost = Step(name="lost", fails=100, deadline_seconds=2)  # the second attempt has the effect, but all fail
    await runner.run(A, lost)
    assert runner.steps.effects == {"a": 0, "lost": 0}


async def test_skipped_steps_and_parallel_groups_keep_the_reverse_order(runner: ScriptRunner) -> None:  # (E4, E8)
    group = Step(name="x", parallel=(Step(name="y"), Step(name="z")))
    handle = await runner.run(A, Step(name="s", kind="skip"), group, B, REFUSED)
    undone = [line for line in runner.steps.journal if line.startswith("undo")]
    assert undone == ["undo refused", "undo b", "undo z", "undo y", "undo x", "undo a"]
    assert (await states(handle))["s"] == "skipped"


async def test_all_steps_of_a_parallel_group_end_before_any_is_undone(runner: ScriptRunner) -> None:  # (E5)
    group = Step(name="x", fails=-1, parallel=(Step(name="y", fails=2), Step(name="z")))
    await runner.run(A, group)
    journal = runner.steps.journal
    first_undo = next(i for i, line in enumerate(journal) if line.startswith("undo"))
    assert all(line.startswith("undo") for line in journal[first_undo:])
    assert runner.remaining_effects == {}


async def test_all_steps_of_a_parallel_group_return_a_result(runner: ScriptRunner) -> None:  # (E8)
    handle = await runner.run(Step(name="x", fails=2, parallel=(Step(name="y"), Step(name="z", fails=1))))
    assert sorted(await handle.result()) == ["x", "y", "z"]


async def test_a_late_attempt_of_a_timed_out_step_is_refused_by_the_tombstone(runner: ScriptRunner) -> None:  # (E5)
    await runner.run(A, Step(name="late", slow=True))
    assert runner.remaining_effects == {}
    runner.steps.slow_may_continue.set()  # the attempt that timed out continues now
    await wait_until(lambda: "refuse late" in runner.steps.journal)
    assert runner.remaining_effects == {}


async def test_no_step_starts_after_undoing_has_started(runner: ScriptRunner) -> None:  # (E5)
    await runner.run(A, Step(name="x", fails=-1, parallel=(Step(name="y", fails=1),)), C)
    assert "do c 1" not in runner.steps.journal


async def test_a_failed_undo_is_shown_the_other_undos_run_and_the_next_run_retries_it(
    runner: ScriptRunner,
) -> None:  # (E6)
    stuck = Step(name="stuck", undo_fails=True)
    handle = await runner.run(A, stuck, REFUSED)
    error = await failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "CompensationFailed"
    assert cause(error, CarrierRefused) is not None
    assert (await progress(handle)).state == "compensation_failed"
    assert await states(handle) == {"first": "done", "a": "undone", "stuck": "undo_failed", "refused": "undone"}
    assert runner.remaining_effects == {"stuck": 1}

    again = await runner.run(B, id=handle.id)
    assert await status(again) == FAILED  # the undo still fails, so no new step may start
    assert "do b 1" not in runner.steps.journal


async def test_a_process_continues_after_a_step_that_may_fail_and_undoes_it_later(runner: ScriptRunner) -> None:  # (E7)
    optional = Step(name="optional", kind="may fail", fails=-1)
    handle = await runner.run(A, optional, B)
    assert await handle.result() == ["a", "optional failed", "b"]

    handle = await runner.run(A, optional, REFUSED)
    assert runner.steps.journal[-3:] == ["undo refused", "undo optional", "undo a"]


async def test_a_child_process_that_undoes_itself_leaves_its_parent_compensated(runner: ScriptRunner) -> None:  # (E8)
    child = Step(name="child", kind="child", child_steps=(B, REFUSED))
    handle = await runner.run(A, child, C)
    assert runner.steps.journal == ["do a 1", "do b 1", "do refused 1", "undo refused", "undo b", "undo a"]
    assert cause(await failure(handle), CarrierRefused) is not None
    assert (await progress(handle)).state == "compensated"


async def test_a_cancel_reaches_the_child_process_and_undoes_both(runner: ScriptRunner) -> None:  # (E8, E10)
    handle = await runner.start(A, Step(name="child", kind="child", child_steps=(B, Step(kind="wait"))))
    await wait_until(lambda: "do b 1" in runner.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert await status(handle) == CANCELLED
    assert runner.steps.journal[-2:] == ["undo b", "undo a"]


async def test_a_cancel_during_a_wait_undoes_all_steps(runner: ScriptRunner) -> None:  # (E10)
    handle = await runner.start(A, Step(kind="wait"))
    await wait_until(lambda: "do a 1" in runner.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert await status(handle) == CANCELLED
    assert runner.remaining_effects == {}


async def test_a_cancel_before_the_first_step_runs_no_step(runner: ScriptRunner) -> None:  # (E10)
    without_worker = ScriptRunner(runner.client, f"scripted-{uuid4()}", runner.steps, runner.database)
    handle = await without_worker.start(A)
    await handle.cancel()
    async with without_worker.worker():
        await failure(handle)
    assert await status(handle) == CANCELLED
    assert runner.steps.journal == []


async def test_a_cancel_during_compensation_is_ignored(runner: ScriptRunner) -> None:  # (E10)
    handle = await runner.start(A, B, C, REFUSED)
    await wait_until(lambda: "undo refused" in runner.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert runner.remaining_effects == {}
    assert runner.steps.journal[-3:] == ["undo c", "undo b", "undo a"]


async def test_a_cancel_after_the_final_step_is_ignored(runner: ScriptRunner) -> None:  # (E10)
    handle = await runner.start(A, Step(name="end", kind="final"), Step(name="after", kind="may fail", slow=True), B)
    await wait_until(lambda: "do after 1" in runner.steps.journal)
    await handle.cancel()
    assert await handle.result() == ["a", "end", "after failed", "b"]
    assert runner.remaining_effects == {"a": 1, "end": 1, "b": 1}


async def test_a_local_step_that_fails_twice_continues_as_a_regular_one(runner: ScriptRunner) -> None:
    await runner.run(Step(name="flaky", fails=3, local=True))
    assert runner.steps.journal == [f"do flaky {attempt}" for attempt in (1, 1, 1, 2, 3, 4)]
    assert runner.remaining_effects == {"flaky": 1}
    assert len(runner.steps.keys) == 1


async def test_local_steps_take_one_workflow_task_together(runner: ScriptRunner) -> None:
    handle = await runner.run(*LOCAL)
    assert [event async for event in handle.fetch_history_events() if is_task_completed(event)][1:] == []


async def test_a_permanent_error_of_a_local_step_is_not_retried(runner: ScriptRunner) -> None:  # (E3)
    handle = await runner.run(A, Step(name="refused", fails=-1, local=True))
    assert runner.steps.journal == ["do a 1", "do refused 1", "undo refused", "undo a"]
    assert cause(await failure(handle), CarrierRefused) is not None


async def test_steps_of_a_lost_workflow_task_are_undone_too(runner: ScriptRunner) -> None:  # (E2)
    """Their worker was lost before they got into the history, so only the ledger knows them."""

    async def lose_a_step(line: str) -> None:
        if line == "do refused 1":
            key = StepKey.model_validate(dict(zip(StepKey.model_fields, keys(runner)[0].split("/"), strict=True)))
            call = Call(key=key.model_copy(update={"step": "lost"}), input=Step(name="lost"), undo="undo")
            async with runner.database.transaction() as tx:
                await ledger.once(tx, call, Done, done)

    runner.steps.on_call = lose_a_step
    handle = await runner.run(A, REFUSED)
    assert runner.steps.journal[2:] == ["undo lost", "undo refused", "undo a"]
    assert (await states(handle))["lost"] == "undone"


async def test_a_worker_that_was_frozen_does_no_step_after_the_run_has_undone_its_steps(
    runner: ScriptRunner,
) -> None:  # (E5)
    """Another worker has run the task of local steps again, and did not come to the step that the first one does."""
    await runner.run(A, REFUSED)
    business_key, _, generation = keys(runner)[0].split("/")
    late = Call(key=StepKey(business_key=business_key, step="late", generation=generation), input=A, undo="undo")
    with pytest.raises(StaleGeneration):
        async with runner.database.transaction() as tx:
            await ledger.once(tx, late, Done, done)


@pytest.mark.parametrize("kind", ["step", "final"])
async def test_a_cancel_during_local_steps_is_seen_before_the_next_regular_step(
    runner: ScriptRunner, kind: Literal["step", "final"]
) -> None:  # (E10)
    async def cancel(line: str) -> None:
        if line == "do second 1":
            await runner.client.get_workflow_handle(workflow_id).cancel()

    runner.steps.on_call, workflow_id = cancel, f"scripted-{uuid4()}"
    handle = await runner.run(*LOCAL, Step(name="regular", kind=kind), id=workflow_id)
    assert await status(handle) == CANCELLED
    assert "do regular 1" not in runner.steps.journal
    assert runner.remaining_effects == {}


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_saga_undoes_nothing_if_the_ledger_knows_of_its_local_final_step(
    runner: ScriptRunner, moment: Literal["before", "after"]
) -> None:  # (E10)
    """The first try asks for a cancel, has its effect and loses its answer. The second is refused because of one."""
    end = Step(name="end", kind="final", local=True, fails=2)

    async def cancel(line: str) -> None:
        if line == ("do second 1" if moment == "before" else "do end 1"):
            await runner.client.get_workflow_handle(workflow_id).cancel()
            if moment == "after":
                step = Call(key=StepKey(business_key=workflow_id, step="end", generation=generation()), input=end)
                async with runner.database.transaction() as tx:
                    await ledger.once(tx, step, Done, done, final=True)

    def generation() -> str:
        return keys(runner)[0].split("/")[2]

    runner.steps.on_call, workflow_id = cancel, f"scripted-{uuid4()}"
    handle = await runner.run(*LOCAL, end, id=workflow_id)
    assert await status(handle) == CANCELLED
    undone = [line for line in runner.steps.journal if line.startswith("undo")]
    if moment == "after":
        assert undone == [] and (await states(handle))["end"] == "done"
        assert (await progress(handle)).state == "failed"
    else:
        assert undone == ["undo second", "undo one"]


async def test_a_final_step_that_fails_undoes_all_steps(runner: ScriptRunner) -> None:
    handle = await runner.run(A, Step(name="end", kind="final", fails=-1))
    assert await status(handle) == FAILED
    assert runner.remaining_effects == {}


async def test_a_terminated_run_undoes_nothing_and_the_next_run_undoes_its_leftovers(runner: ScriptRunner) -> None:
    handle = await runner.start(A, B, Step(kind="wait"))
    await wait_until(lambda: "do b 1" in runner.steps.journal)
    await wait_until(lambda: runner.steps.effects["b"] == 1)
    await handle.terminate()
    again = await runner.run(A, id=handle.id)
    assert await again.result() == ["a"]
    assert runner.steps.journal[-3:] == ["undo b", "undo a", "do a 1"]
    assert runner.remaining_effects == {"a": 1}


async def test_a_second_start_with_the_same_id_is_refused_while_a_run_is_open(runner: ScriptRunner) -> None:  # (E12)
    handle = await runner.start(A, Step(kind="wait"))
    with pytest.raises(Exception, match="already started"):
        await runner.start(A, id=handle.id)
    await handle.terminate()


async def test_a_start_with_invalid_input_fails_and_names_the_field(runner: ScriptRunner) -> None:
    starts: list[tuple[list[object], str]] = [
        ([], "steps: Field required"),
        ([{"steps": [{"name": "a", "kind": "secret"}]}], "steps.0.kind"),
        (["secret"], "input"),
        ([None], "steps: Field required"),
        ([{}], "steps: Field required"),
        ([{"steps": []}, {"steps": []}], "got 2 arguments"),
        ([b"secret"], "input"),
    ]
    for arguments, message in starts:
        handle = await runner.client.start_workflow(
            "scripted", args=arguments, id=f"bad-{uuid4()}", task_queue=runner.queue
        )
        error = await failure(handle)
        assert isinstance(error, ApplicationError) and error.type == "BadInput"
        assert message in str(error)
        assert "secret" not in str((await handle.fetch_history()).events[-1])


@pytest.mark.parametrize("encoding", [b"binary/encrypted", b"json/protobuf", b""])
async def test_a_start_in_an_unknown_encoding_fails(runner: ScriptRunner, encoding: bytes) -> None:
    payload = Payload(metadata={"encoding": encoding, "messageType": b"not.Known"} if encoding else {}, data=b"{}")
    handle = await runner.client.start_workflow(
        "scripted", RawValue(payload), id=f"bad-{uuid4()}", task_queue=runner.queue
    )
    error = await failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "BadInput"


async def test_a_bug_leaves_the_run_open_and_the_fixed_version_finishes_it(runner: ScriptRunner) -> None:  # (E18)
    runner.queue = f"repaired-{uuid4()}"
    async with runner.worker(BuggyProcess):
        handle = await runner.client.start_workflow(
            "repaired", Script(steps=()), id=f"repaired-{uuid4()}", task_queue=runner.queue
        )
        await wait_until(lambda: "do a 1" in runner.steps.journal)
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField("workflow_task_failed_event_attributes"):
                break
    assert await status(handle) == WorkflowExecutionStatus.RUNNING
    async with runner.worker(RepairedProcess):
        assert await handle.result() == "fixed"
    assert set(runner.steps.journal) == {"do a 1"}  # a local step runs again with its workflow task
    assert runner.remaining_effects == {"a": 1}


SCRIPTS = st.lists(
    st.builds(
        Step,
        name=st.sampled_from("abcdef"),
        kind=st.sampled_from(["step", "step", "step", "may fail", "final"]),
        local=st.booleans(),
        fails=st.sampled_from([0, 0, 0, 1, 2, -1]),
        parallel=st.lists(st.builds(Step, name=st.sampled_from("ghij"), fails=st.sampled_from([0, 1, -1])), max_size=2),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda step: step.name,
)


@settings(max_examples=20)
@given(script=SCRIPTS, cancel_at=st.integers(0, 12))
async def test_all_steps_end_done_or_undone_under_any_failures_and_any_cancel(
    runner: ScriptRunner, script: list[Step], cancel_at: int
) -> None:
    steps = [step if step.kind == "step" else step.model_copy(update={"parallel": ()}) for step in script]
    steps = [step.model_copy(update={"parallel": with_unique_names(step.parallel, i)}) for i, step in enumerate(steps)]
    workflow_id = f"scripted-{uuid4()}"
    runner.steps.journal.clear()
    runner.steps.effects.clear()

    async def cancel(_line: str) -> None:
        if len(runner.steps.journal) == cancel_at + 1:
            await runner.client.get_workflow_handle(workflow_id).cancel()

    runner.steps.on_call = cancel
    handle = await runner.run(*steps, id=workflow_id)
    journal = runner.steps.journal
    if await status(handle) == WorkflowExecutionStatus.COMPLETED:
        assert all(count == 1 for count in runner.remaining_effects.values())
        assert not any(line.startswith("undo") for line in journal)
    elif (await progress(handle)).state == "failed":  # after its final step, or before anything was done
        assert not any(line.startswith("undo") for line in journal)
    else:
        assert runner.remaining_effects == {}
        first_undo = next(i for i, line in enumerate(journal) if line.startswith("undo"))
        assert all(line.startswith("undo") for line in journal[first_undo:])


def with_unique_names(steps: tuple[Step, ...], group: int) -> tuple[Step, ...]:
    return tuple(step.model_copy(update={"name": f"{step.name}{group}{i}"}) for i, step in enumerate(steps))
