"""Steps with their undo: when a process fails or is cancelled, what was done is undone in strict reverse order.

The undo is registered before its step runs, since a step that seems to have failed may have happened. A cancel counts
until the final step is scheduled; from then on it is ignored and nothing is undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe
    from commerce.messages.base import Message
    from commerce.messages.progress import ProcessState, Progress, StepProgress
    from commerce.messages.steps import Begin, Begun, Call, Leftover
    from commerce.telemetry.metrics import STEPS_UNDONE, UNDO_FAILURES
    from workflows.engine.calls import CHILD, execute, execute_undo, key_of, name_of, note_of
    from workflows.engine.cancellation import STOPPED, uninterrupted
    from workflows.engine.metrics import count
    from workflows.engine.policies import DATABASE_STEP, UNDO, Policy
    from workflows.engine.search_attributes import FAILED_STEP, show_state

T = TypeVar("T")
BegunT = TypeVar("BegunT", bound=Begun)
InputT = TypeVar("InputT", bound=Message)
Method = Callable[..., Awaitable[Any]]


class Saga:
    """The steps of one process, their undos and their progress; used as `async with Saga(plan) as saga`."""

    def __init__(self, plan: Sequence[Method] = ()) -> None:
        """Take the steps to come, so that progress shows what is pending."""
        self.progress = Progress(steps=[StepProgress(name=name_of(method)) for method in plan])
        self._undos: list[Leftover] = []
        self._final = False

    async def __aenter__(self) -> "Saga":
        self.enter("running")
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, STOPPED):
            return  # a bug leaves the run open; one that is thrown out of memory may ask Temporal nothing any more
        cancelled = workflow.cancellation_reason() is not None and not self._final
        if error is None and not cancelled:
            self.enter("completed")
        else:
            if failed := [step.name for step in self.progress.steps if step.state == "failed"]:
                workflow.upsert_search_attributes([FAILED_STEP.value_set(failed[-1])])
            if self._undos and not self._final:
                await uninterrupted(self._compensate(error))
            elif self.progress.state == "running":
                self.enter("failed")
            if cancelled and self.progress.state != "compensation_failed":
                raise asyncio.CancelledError from error

    async def begin(self, step: Callable[[Any, Begin[InputT]], Awaitable[BegunT]], value: InputT) -> BegunT:
        """Run the first step; what it finds left of an older, cut-off run is undone before it looks again."""
        name = name_of(step)
        call: Begin[InputT] = Begin(key=key_of(name), input=value, started_at=workflow.info().workflow_start_time)
        while (answer := await self._watch(name, execute(step, call, DATABASE_STEP))).leftovers:
            self._undos = answer.leftovers[::-1]
            await uninterrupted(self._compensate(None))
            self.enter("running")
        return answer

    async def step(
        self,
        step: Callable[[Any, Call[InputT]], Awaitable[T]],
        value: InputT,
        *,
        undo: Method | None = None,
        undo_input: Message | None = None,
        name: str | None = None,
        policy: Policy = DATABASE_STEP,
        final: bool = False,
    ) -> T:
        """Run a step; `undo` gets its key and input, or `undo_input`; nothing is undone once `final` is scheduled."""
        recorded = None if undo_input is None else undo_input.model_dump(mode="json")
        call: Call[InputT] = Call(
            key=key_of(name or name_of(step)), input=value, undo=undo and name_of(undo), undo_input=recorded
        )
        return await self._forward(call, lambda: execute(step, call, policy), final=final)

    async def child(
        self,
        process: Callable[[Any, Any], Awaitable[T]],
        value: Message,
        *,
        id: str,  # noqa: A002 - Temporal's word
        undo: Method | None = None,
    ) -> T:
        """Run a process as a step: it undoes itself when it fails; `undo` takes it back when we fail later."""
        call: Call[Message] = Call(key=key_of(id), input=value, undo=undo and name_of(undo))
        return await self._forward(call, lambda: workflow.execute_child_workflow(process, value, id=id, **CHILD))

    def skip(self, step: Method, why: str) -> None:
        """Show that a step of the plan is not needed this time."""
        self.progress.step(name_of(step)).skip(why)

    async def _forward(self, call: Call[Any], run: Callable[[], Coroutine[Any, Any, T]], *, final: bool = False) -> T:
        self._stop_if_cancelled()
        if call.undo:
            self._undos.append(Leftover(undo=call.undo, call=call.for_undo()))
        before, self._final = self._final, self._final or final
        try:
            answer = await self._watch(call.key.step, uninterrupted(run()) if self._final else run())
        except FailureError:
            self._final = before
            raise
        self._stop_if_cancelled()  # it ended well in spite of the cancel, which nothing else would hear of
        return answer

    def _stop_if_cancelled(self) -> None:
        if not self._final and workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError

    async def _watch(self, name: str, run: Coroutine[Any, Any, T]) -> T:
        step = self.progress.step(name)
        step.state, step.scheduled_at, step.ended_at, step.error = "running", workflow.now(), None, None
        workflow.set_current_details(self.progress.as_markdown())
        try:
            answer = await run
        except STOPPED as failure:
            step.state, step.ended_at, step.error = "failed", workflow.now(), describe(failure)
            raise
        step.state, step.ended_at, step.note = "done", workflow.now(), note_of(answer)
        return answer

    async def _compensate(self, error: BaseException | None) -> None:
        self.enter("compensating")
        stuck = []
        while self._undos:
            undo = self._undos.pop()
            step = self.progress.step(undo.call["key"]["step"])
            try:
                await execute_undo(undo, UNDO)
                step.state = "undone"
                count(STEPS_UNDONE, step=step.name)
            except FailureError as failure:  # the other undos still run
                step.state, step.error = "undo_failed", describe(failure)
                stuck.append(f"{step.name} ({step.error})")
                count(UNDO_FAILURES, step=step.name)
        self.enter("compensation_failed" if stuck else "compensated")
        if stuck:
            raise ApplicationError(f"Could not undo {', '.join(stuck)}", type="CompensationFailed") from error

    def enter(self, state: ProcessState) -> None:
        """Say how the process as a whole stands."""
        show_state(self.progress, state)
