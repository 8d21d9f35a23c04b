"""Saga: the steps of a process with their undos. A failure or a cancel undoes them in strict reverse order (E3, E4).

An undo is registered before its step runs, because a step that seems to have failed may have had its effect (E2). A
cancel counts until the final step runs; after that it is ignored and nothing is undone (E10).

Steps that run locally (calls.py) get into the history only when their workflow task ends. If its worker is lost, the
task starts again, and the ledger may know of steps that the saga does not. So compensation asks the ledger first. If
the final step is one of those, the ledger is right: nothing is undone.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe, surface, to_failure
    from commerce.errors import CancelRequested, PermanentError, ResetTooLate
    from commerce.messages.base import Message
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import ProcessState, Progress, StepProgress
    from commerce.messages.steps import Begin, BeginResult, Call, Leftover, StepKey
    from commerce.messages.waits import WaitKey
    from workflows.engine.calls import (
        CHILD,
        Method,
        execute,
        execute_undo,
        is_reset,
        key_of,
        name_of,
        note_of,
        runs_locally,
    )
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.policies import DATABASE_STEP, REGULAR_STEP, UNDO, Policy
    from workflows.engine.search_attributes import clear_copied_attributes, publish_failed_step, publish_state
    from workflows.engine.undos import Undos
    from workflows.engine.waits import AnswerT, Waits

T = TypeVar("T")
BegunT = TypeVar("BegunT", bound=BeginResult)
InputT = TypeVar("InputT", bound=Message)


class Saga:
    """The steps of one process, their undos and their progress.

    Use it as `async with Saga(plan) as saga`. Leaving the block with a cancel or a FailureError undoes the steps; any
    other exception is a bug and leaves the run open for a fixed deployment (E18). If `is_done` then, a lost worker has
    done the final step and nothing is undone: enter the block once more to end the process as one that is done.
    """

    def __init__(self, plan: Sequence[Method] = ()) -> None:
        """Create a saga whose progress shows the steps of `plan` as pending."""
        self.progress = Progress(steps=[StepProgress(name=name_of(method)) for method in plan])
        self._undos = Undos(self.progress)
        self._generation = ""  # from the answer of the first step
        self._began = self._final = False
        self.is_done = False  # the ledger knows of a final step that the history does not have
        self._asks_for_cancel = False  # one may have arrived during the workflow task in which a local step has run
        self._interruption: ApplicationError | None = None
        self._interruptible: set[asyncio.Task[Any]] = set()  # the steps that run now
        self._waits = Waits(self)

    async def __aenter__(self) -> "Saga":
        clear_copied_attributes()
        self.enter("running")
        return self

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: TracebackType | None) -> None:
        if error is not None and not isinstance(error, CANCEL_OR_FAILURE):
            return  # a bug, or the worker evicts this run from its cache: issue no more commands
        cancelled = workflow.cancellation_reason() is not None and not self._final
        if error is None and not cancelled:
            self.enter("completed")
        else:
            publish_failed_step(self.progress)
            if self._began and not self._final:
                may_undo = await uninterrupted(self._undos.find_lost_steps(self._key("close-generation")))
                self._final = self.is_done = not may_undo
            if self._undos and not self._final:
                await uninterrupted(self._undos.compensate(error))
            elif self.progress.state == "running":
                self.enter("failed")
            if cancelled and self.progress.state != "compensation_failed":
                raise asyncio.CancelledError from error

    async def begin(
        self,
        step: Callable[[Any, Begin[InputT]], Awaitable[BegunT]],
        value: InputT,
        *,
        policy: Policy = DATABASE_STEP,
    ) -> BegunT:
        """Run the first step. Leftovers that it finds of an older, interrupted run are undone before it runs again.

        A cancel waits until that is done (E10).
        """
        info, name = workflow.info(), name_of(step)
        call: Begin[InputT] = Begin(
            key=key_of(name, info.original_execution_run_id), input=value, started_at=info.workflow_start_time
        )
        self._began, self._asks_for_cancel = True, runs_locally(policy)
        beginning = asyncio.create_task(self._begin(name, lambda: execute(step, call, policy)))
        while not beginning.done():
            try:
                await asyncio.shield(beginning)
            except asyncio.CancelledError:
                if not workflow.patched("begin-despite-cancel"):
                    beginning.cancel()
        answer = beginning.result()
        self._raise_if_ended()
        return answer

    async def _begin(self, name: str, first_step: Callable[[], Coroutine[Any, Any, BegunT]]) -> BegunT:
        while True:
            answer = await self._track(name, first_step())
            self._generation = answer.generation or workflow.info().original_execution_run_id
            if not answer.leftovers:
                return answer
            self._undos.replace(answer.leftovers)
            await uninterrupted(self._undos.compensate(None))
            self.enter("running")

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
        """Run a step and return its answer.

        `undo` gets the key of the step and its input, or `undo_input` if given. `name` tells calls of the same
        activity apart: `create-shipping-label/2`. Once a `final` step is scheduled, nothing is undone any more.
        """
        recorded = None if undo_input is None else undo_input.model_dump(mode="json")
        local = runs_locally(policy)
        call: Call[InputT] = Call(
            key=self._key(name or name_of(step)),
            input=value,
            undo=undo and name_of(undo),
            undo_input=recorded,
            asks_for_cancel=(final or not local) and self._asks_for_cancel and not self._final,
        )
        try:
            return await self._run(call, lambda: execute(step, call, policy), final=final)
        finally:
            self._asks_for_cancel = local

    async def child(
        self,
        process: Callable[[Any, Any], Awaitable[T]],
        value: Message,
        *,
        id: str,  # noqa: A002 - Temporal's word
        undo: Method | None = None,
    ) -> T:
        """Run another process as a step (E8). It undoes itself if it fails; `undo` takes it back if this saga fails."""
        call: Call[Message] = Call(key=self._key(id), input=value, undo=undo and name_of(undo))
        return await self._run(call, lambda: workflow.execute_child_workflow(process, value, id=id, **CHILD))

    async def wait(
        self,
        step: Callable[[Any, Call[InputT]], Awaitable[Any]],
        value: InputT,
        *,
        answer: type[AnswerT],
        until: timedelta,
        undo: Method | None = None,
        undo_input: Message | None = None,
        policy: Policy = REGULAR_STEP,
        remind: Alert | None = None,
        default: AnswerT | None = None,
        accepts: Callable[[AnswerT], Awaitable[bool]] | None = None,
    ) -> AnswerT:
        """Run a step that asks something outside the shop, then wait until it is answered, and return the answer.

        `until`: how long it waits. The alert `remind` is sent to the admins on the way. Raises ApplicationError:
        AnsweredWithFailure, and Unanswered if there is no answer in time and no `default`. The answer `retry`, and data
        that `accepts` refuses, run the step again, as a step of its own with its own undo. The saga must have begun.
        """

        async def request(key: WaitKey) -> None:
            await self.step(step, value, undo=undo, undo_input=undo_input, name=key.request, policy=policy)

        key = WaitKey(**dict(self._key(name_of(step))))
        return await self._waits.ask(key, request, answer, until, remind, default, accepts)

    async def until_ended(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Await what is no step of its own. What ends the saga early ends it, too."""
        self._raise_if_ended()
        try:
            answer = await self._interruptibly(work())
        except CANCEL_OR_FAILURE:
            self._raise_if_ended()
            raise
        self._raise_if_ended()
        return answer

    async def take_back(self, step: Leftover, name: str) -> None:
        """Run the undo of another process's step. From then on nothing here is undone, as after a final step."""
        self._final = True
        await self._track(name, uninterrupted(execute_undo(step, UNDO)))

    def plan(self, names: Sequence[str], *, after: str) -> None:
        """Show more steps as pending, after one of the plan."""
        self.progress.insert(names, after)

    def skip(self, step: Method, reason: str) -> None:
        """Show a step of the plan as skipped."""
        self.progress.step(name_of(step)).skip(reason)

    def interrupt(self, error: PermanentError) -> None:
        """Let the saga fail with this error now, as a cancel would, unless its final step is scheduled."""
        if not self._final and self._interruption is None:
            self._interruption = to_failure(error)
            for step in self._interruptible:
                step.cancel()

    def enter(self, state: ProcessState) -> None:
        """Change the state of the process, as operators see it."""
        publish_state(self.progress, state)

    def call(self, step: str, value: InputT) -> Call[InputT]:
        """Return the call of a step that the saga does not undo, under the saga's generation."""
        return Call(key=self._key(step), input=value)

    def final_failure(self, failure: BaseException) -> BaseException:
        """Return what the run fails with because of `failure`: a cancel, the innermost cause, or ResetTooLate."""
        # Such a run has the generation of another one.
        was_reset_too_late = is_reset() and self._generation not in ("", workflow.info().run_id)
        if was_reset_too_late and self.progress.state != "compensation_failed":
            late = to_failure(ResetTooLate())
            late.__cause__ = failure
            return late
        return failure if isinstance(failure, asyncio.CancelledError) else surface(failure)

    def _key(self, step: str) -> StepKey:
        return key_of(step, self._generation or workflow.info().run_id)

    async def _run(self, call: Call[Any], run: Callable[[], Coroutine[Any, Any, T]], *, final: bool = False) -> T:
        self._raise_if_ended()
        self._undos.add(call)
        before, self._final = self._final, self._final or final
        try:
            answer = await self._interruptibly(
                self._track(call.key.step, uninterrupted(run()) if self._final else run())
            )
        except CANCEL_OR_FAILURE as failure:
            if isinstance(failure, FailureError):
                self._final = before
            self._raise_if_ended()
            if cause(failure, CancelRequested):  # the step knows of a cancel that has not been delivered yet
                raise asyncio.CancelledError from failure
            raise
        self._raise_if_ended()  # a step that succeeds despite the cancel swallows it
        return answer

    async def _interruptibly(self, step: Coroutine[Any, Any, T]) -> T:
        if self._final:
            return await step
        self._interruptible.add(task := asyncio.create_task(step))
        try:
            return await task
        finally:
            self._interruptible.discard(task)

    def _raise_if_ended(self) -> None:
        """Raise what ends the saga early: a cancel of the run or an interruption. The final step prevents both."""
        if self._final:
            return
        if workflow.cancellation_reason() is not None:
            raise asyncio.CancelledError
        if self._interruption is not None:
            raise self._interruption

    async def _track(self, name: str, run: Coroutine[Any, Any, T]) -> T:
        """Await a step and record in its progress how it starts and ends."""
        step = self.progress.step(name)
        step.state, step.scheduled_at, step.ended_at, step.error = "running", workflow.now(), None, None
        workflow.set_current_details(self.progress.as_markdown())
        try:
            answer = await run
        except CANCEL_OR_FAILURE as failure:
            step.state, step.ended_at, step.error = "failed", workflow.now(), describe(failure)
            raise
        step.state, step.ended_at, step.note = "done", workflow.now(), note_of(answer)
        return answer
