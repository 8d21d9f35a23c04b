"""What the saga promises, line by line of what people expect of a workflow engine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from temporalio.api.common.v1 import Payload
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import RawValue
from temporalio.exceptions import ApplicationError
from temporalio.worker import Worker

from activities.boundary.failures import cause
from commerce.database import Database
from commerce.errors import CarrierRefused
from commerce.messages.progress import Progress
from tests.workflows.processes import BuggyProcess, RepairedProcess, Script, ScriptedProcess, ScriptedSteps, Step

FAILED, CANCELLED = WorkflowExecutionStatus.FAILED, WorkflowExecutionStatus.CANCELED
Handle = WorkflowHandle[ScriptedProcess, list[str]]


@dataclass
class Stage:
    """A worker that plays scripts, and what its steps have done."""

    client: Client
    queue: str
    steps: ScriptedSteps

    async def start(self, *steps: Step, id: str | None = None) -> Handle:  # noqa: A002
        script = Script(steps=steps)
        return await self.client.start_workflow(
            ScriptedProcess.run, script, id=id or f"scripted-{uuid4()}", task_queue=self.queue
        )

    async def play(self, *steps: Step, id: str | None = None) -> Handle:  # noqa: A002
        """Start a script and wait for its end, good or bad."""
        handle = await self.start(*steps, id=id)
        await asyncio.gather(handle.result(), return_exceptions=True)
        return handle

    def worker(self, *processes: type) -> Worker:
        """Make a worker for the stage's queue."""
        methods = [self.steps.first, self.steps.do, self.steps.undo]
        return Worker(self.client, task_queue=self.queue, workflows=processes or [ScriptedProcess], activities=methods)

    @property
    def standing(self) -> dict[str, int]:
        """The effects that are there."""
        return {name: count for name, count in self.steps.effects.items() if count}


@pytest.fixture
async def stage(client: Client, database: Database) -> AsyncIterator[Stage]:
    stage = Stage(client, f"scripted-{uuid4()}", ScriptedSteps(database))
    async with stage.worker():
        yield stage
        stage.steps.hurry.set()


async def status(handle: Handle) -> WorkflowExecutionStatus | None:
    return (await handle.describe()).status


async def progress(handle: Handle) -> Progress:
    return await handle.query(ScriptedProcess.progress)


async def states(handle: Handle) -> dict[str, str]:
    return {step.name: step.state for step in (await progress(handle)).steps}


async def failure(handle: Handle) -> BaseException:
    with pytest.raises(WorkflowFailureError) as caught:
        await handle.result()
    assert caught.value.cause is not None
    return caught.value.cause


async def until(check: Callable[[], bool], deadline: float = 15) -> None:
    async with asyncio.timeout(deadline):
        while not check():  # noqa: ASYNC110 - it looks at what a server did
            await asyncio.sleep(0.01)


A, B, C = Step(name="a"), Step(name="b"), Step(name="c")
REFUSED = Step(name="refused", fails=-1)


async def test_steps_run_in_order_under_their_own_keys(stage: Stage) -> None:  # (E1)
    handle = await stage.play(A, B, C)
    assert await handle.result() == ["a", "b", "c"]
    assert stage.steps.journal == ["do a 1", "do b 1", "do c 1"]
    run = handle.first_execution_run_id
    assert stage.steps.keys == {f"{handle.id}/{name}/{run}" for name in "abc"}
    assert (await progress(handle)).state == "completed"


async def test_a_transient_failure_is_tried_again_and_has_its_effect_once(stage: Stage) -> None:  # (E3)
    await stage.play(Step(name="flaky", fails=3))
    assert stage.steps.journal == ["do flaky 1", "do flaky 2", "do flaky 3", "do flaky 4"]
    assert stage.standing == {"flaky": 1}


async def test_a_permanent_failure_skips_retries_and_undoes_in_reverse(stage: Stage) -> None:  # (E2, E3)
    handle = await stage.play(A, B, REFUSED, C)
    assert await status(handle) == FAILED
    assert stage.steps.journal == ["do a 1", "do b 1", "do refused 1", "undo refused", "undo b", "undo a"]
    assert stage.standing == {}
    error = cause(await failure(handle), CarrierRefused)
    assert error is not None and error.code == "SCRIPT"
    assert await states(handle) == {"first": "done", "a": "undone", "b": "undone", "refused": "undone"}
    assert (await progress(handle)).state == "compensated"


async def test_an_undo_copes_with_a_step_that_never_happened_and_with_a_lost_answer(stage: Stage) -> None:  # (E2)
    lost = Step(name="lost", fails=100, seconds=2)  # has its effect at the second attempt, and seems to fail for ever
    await stage.play(A, lost)
    assert stage.steps.effects == {"a": 0, "lost": 0}


async def test_a_skipped_step_and_a_parallel_group_keep_the_reverse_order(stage: Stage) -> None:  # (E4, E8)
    group = Step(name="x", beside=(Step(name="y"), Step(name="z")))
    handle = await stage.play(A, Step(name="s", how="skip"), group, B, REFUSED)
    undone = [line for line in stage.steps.journal if line.startswith("undo")]
    assert undone == ["undo refused", "undo b", "undo z", "undo y", "undo x", "undo a"]
    assert (await states(handle))["s"] == "skipped"


async def test_members_of_a_group_all_end_before_any_is_undone(stage: Stage) -> None:  # (E5)
    group = Step(name="x", fails=-1, beside=(Step(name="y", fails=2), Step(name="z")))
    await stage.play(A, group)
    journal = stage.steps.journal
    first_undo = next(i for i, line in enumerate(journal) if line.startswith("undo"))
    assert all(line.startswith("undo") for line in journal[first_undo:])
    assert stage.standing == {}


async def test_results_of_a_group_come_in_argument_order(stage: Stage) -> None:  # (E8)
    handle = await stage.play(Step(name="x", fails=2, beside=(Step(name="y"), Step(name="z", fails=1))))
    assert sorted(await handle.result()) == ["x", "y", "z"]


async def test_a_late_attempt_of_a_timed_out_step_finds_the_tombstone(stage: Stage) -> None:  # (E5)
    await stage.play(A, Step(name="late", late=True))
    assert stage.standing == {}
    stage.steps.hurry.set()  # the attempt that seemed lost goes on now
    await until(lambda: "refuse late" in stage.steps.journal)
    assert stage.standing == {}


async def test_no_step_begins_after_undoing_has_begun(stage: Stage) -> None:  # (E5)
    await stage.play(A, Step(name="x", fails=-1, beside=(Step(name="y", fails=1),)), C)
    assert "do c 1" not in stage.steps.journal


async def test_a_failed_undo_is_shown_the_others_run_and_the_next_run_tries_it_again(stage: Stage) -> None:  # (E6)
    stuck = Step(name="stuck", undo_fails=True)
    handle = await stage.play(A, stuck, REFUSED)
    error = await failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "CompensationFailed"
    assert cause(error, CarrierRefused) is not None
    assert (await progress(handle)).state == "compensation_failed"
    assert await states(handle) == {"first": "done", "a": "undone", "stuck": "undo_failed", "refused": "undone"}
    assert stage.standing == {"stuck": 1}

    again = await stage.play(B, id=handle.id)
    assert await status(again) == FAILED  # its undo is still refused, so nothing new may begin
    assert "do b 1" not in stage.steps.journal


async def test_a_step_that_may_fail_lets_the_process_go_on_and_is_undone_later(stage: Stage) -> None:  # (E7)
    optional = Step(name="optional", how="may fail", fails=-1)
    handle = await stage.play(A, optional, B)
    assert await handle.result() == ["a", "optional failed", "b"]

    handle = await stage.play(A, optional, REFUSED)
    assert stage.steps.journal[-3:] == ["undo refused", "undo optional", "undo a"]


async def test_a_child_that_was_undone_leaves_its_parent_undone(stage: Stage) -> None:  # (E8)
    child = Step(name="child", how="child", inside=(B, REFUSED))
    handle = await stage.play(A, child, C)
    assert stage.steps.journal == ["do a 1", "do b 1", "do refused 1", "undo refused", "undo b", "undo a"]
    assert cause(await failure(handle), CarrierRefused) is not None
    assert (await progress(handle)).state == "compensated"


async def test_a_cancel_reaches_the_child_and_undoes_both(stage: Stage) -> None:  # (E8, E10)
    handle = await stage.start(A, Step(name="child", how="child", inside=(B, Step(how="wait"))))
    await until(lambda: "do b 1" in stage.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert await status(handle) == CANCELLED
    assert stage.steps.journal[-2:] == ["undo b", "undo a"]


async def test_cancel_during_a_wait_undoes(stage: Stage) -> None:  # (E10)
    handle = await stage.start(A, Step(how="wait"))
    await until(lambda: "do a 1" in stage.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert await status(handle) == CANCELLED
    assert stage.standing == {}


async def test_cancel_before_the_first_step_does_nothing(stage: Stage) -> None:  # (E10)
    alone = Stage(stage.client, f"scripted-{uuid4()}", stage.steps)
    handle = await alone.start(A)
    await handle.cancel()
    async with alone.worker():
        await failure(handle)
    assert await status(handle) == CANCELLED
    assert stage.steps.journal == []


async def test_cancel_during_undo_undoes_all_the_same(stage: Stage) -> None:  # (E10)
    handle = await stage.start(A, B, C, REFUSED)
    await until(lambda: "undo refused" in stage.steps.journal)
    await handle.cancel()
    await failure(handle)
    assert stage.standing == {}
    assert stage.steps.journal[-3:] == ["undo c", "undo b", "undo a"]


async def test_a_cancel_after_the_final_step_changes_nothing(stage: Stage) -> None:  # (E10)
    handle = await stage.start(A, Step(name="end", how="final"), Step(name="after", how="may fail", late=True), B)
    await until(lambda: "do after 1" in stage.steps.journal)
    await handle.cancel()
    assert await handle.result() == ["a", "end", "after failed", "b"]
    assert stage.standing == {"a": 1, "end": 1, "b": 1}


async def test_a_final_step_that_fails_undoes_everything(stage: Stage) -> None:
    handle = await stage.play(A, Step(name="end", how="final", fails=-1))
    assert await status(handle) == FAILED
    assert stage.standing == {}


async def test_terminate_runs_nothing_and_the_next_run_undoes_what_was_left(stage: Stage) -> None:
    handle = await stage.start(A, B, Step(how="wait"))
    await until(lambda: "do b 1" in stage.steps.journal)
    await until(lambda: stage.steps.effects["b"] == 1)
    await handle.terminate()
    again = await stage.play(A, id=handle.id)
    assert await again.result() == ["a"]
    assert stage.steps.journal[-3:] == ["undo b", "undo a", "do a 1"]
    assert stage.standing == {"a": 1}


async def test_the_same_id_twice_at_once_is_one_process(stage: Stage) -> None:  # (E12)
    handle = await stage.start(A, Step(how="wait"))
    with pytest.raises(Exception, match="already started"):
        await stage.start(A, id=handle.id)
    await handle.terminate()


async def test_a_start_that_does_not_fit_fails_and_names_the_field(stage: Stage) -> None:
    starts: list[tuple[list[object], str]] = [
        ([], "must be one object, got 0 arguments"),
        ([{"steps": [{"name": "a", "how": "secret"}]}], "steps.0.how"),
        (["secret"], "input"),
        ([None], "input"),
        ([{}], "steps: Field required"),
        ([{"steps": []}, {"steps": []}], "got 2 arguments"),
        ([b"secret"], "input"),
    ]
    for arguments, message in starts:
        handle = await stage.client.start_workflow(
            "scripted", args=arguments, id=f"bad-{uuid4()}", task_queue=stage.queue
        )
        error = await failure(handle)
        assert isinstance(error, ApplicationError) and error.type == "BadInput"
        assert message in str(error)
        assert "secret" not in str((await handle.fetch_history()).events[-1])


@pytest.mark.parametrize("encoding", [b"binary/encrypted", b"json/protobuf", b""])
async def test_a_start_in_an_encoding_that_nobody_knows_fails_too(stage: Stage, encoding: bytes) -> None:
    payload = Payload(metadata={"encoding": encoding, "messageType": b"nobody.Knows"} if encoding else {}, data=b"{}")
    handle = await stage.client.start_workflow(
        "scripted", RawValue(payload), id=f"bad-{uuid4()}", task_queue=stage.queue
    )
    error = await failure(handle)
    assert isinstance(error, ApplicationError) and error.type == "BadInput"


async def test_a_plain_bug_leaves_the_run_open_and_the_mended_deploy_finishes_it(stage: Stage) -> None:  # (E18)
    stage.queue = f"repaired-{uuid4()}"
    async with stage.worker(BuggyProcess):
        handle = await stage.client.start_workflow(
            "repaired", Script(steps=()), id=f"repaired-{uuid4()}", task_queue=stage.queue
        )
        await until(lambda: "do a 1" in stage.steps.journal)
        async for event in handle.fetch_history_events(wait_new_event=True):
            if event.HasField("workflow_task_failed_event_attributes"):
                break
    assert await status(handle) == WorkflowExecutionStatus.RUNNING
    async with stage.worker(RepairedProcess):
        assert await handle.result() == "mended"
    assert stage.steps.journal == ["do a 1"]


SCRIPTS = st.lists(
    st.builds(
        Step,
        name=st.sampled_from("abcdef"),
        how=st.sampled_from(["step", "step", "step", "may fail", "final"]),
        fails=st.sampled_from([0, 0, 0, 1, 2, -1]),
        beside=st.lists(st.builds(Step, name=st.sampled_from("ghij"), fails=st.sampled_from([0, 1, -1])), max_size=2),
    ),
    min_size=1,
    max_size=5,
    unique_by=lambda step: step.name,
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=SCRIPTS, cancel_at=st.integers(0, 12))
async def test_whatever_fails_and_whenever_it_is_cancelled_all_is_undone_or_done(
    stage: Stage, script: list[Step], cancel_at: int
) -> None:
    steps = [step if step.how == "step" else step.model_copy(update={"beside": ()}) for step in script]
    steps = [step.model_copy(update={"beside": unique(step.beside, i)}) for i, step in enumerate(steps)]
    workflow_id = f"scripted-{uuid4()}"
    stage.steps.journal.clear()
    stage.steps.effects.clear()

    async def cancel(_line: str) -> None:
        if len(stage.steps.journal) == cancel_at + 1:
            await stage.client.get_workflow_handle(workflow_id).cancel()

    stage.steps.on_call = cancel
    handle = await stage.play(*steps, id=workflow_id)
    journal = stage.steps.journal
    if await status(handle) == WorkflowExecutionStatus.COMPLETED:
        assert all(count == 1 for count in stage.standing.values())
        assert not any(line.startswith("undo") for line in journal)
    elif (await progress(handle)).state == "failed":  # after its final step, or before anything was done
        assert not any(line.startswith("undo") for line in journal)
    else:
        assert stage.standing == {}
        first_undo = next(i for i, line in enumerate(journal) if line.startswith("undo"))
        assert all(line.startswith("undo") for line in journal[first_undo:])


def unique(steps: tuple[Step, ...], group: int) -> tuple[Step, ...]:
    return tuple(step.model_copy(update={"name": f"{step.name}{group}{i}"}) for i, step in enumerate(steps))
