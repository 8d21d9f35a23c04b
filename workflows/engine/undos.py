"""What a saga has to undo, and undoing it, newest first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe
    from activities.sagas import SagaActivities
    from commerce.messages.base import Nothing
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Call, Leftover, StepKey
    from commerce.telemetry.metrics import STEPS_UNDONE, UNDO_FAILURES
    from workflows.engine.calls import execute, execute_undo
    from workflows.engine.metrics import count
    from workflows.engine.policies import FINAL_STEP, UNDO


class Undos:
    """The undos of a saga's steps, in the order of the steps. True if there are any."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._undos: list[Leftover] = []

    def __bool__(self) -> bool:
        return bool(self._undos)

    def add(self, call: Call[Any]) -> None:
        """Register the undo of a step that is about to run, if it has one."""
        if call.undo:
            self._undos.append(Leftover(undo=call.undo, call=call.for_undo()))

    def replace(self, newest_first: Sequence[Leftover]) -> None:
        """Undo these leftovers of an older run instead."""
        self._undos = list(reversed(newest_first))

    async def find_lost_steps(self, key: StepKey) -> None:
        """Register the undos of steps that a lost workflow task has done, as the ledger has recorded them."""
        if not workflow.patched("local-steps"):
            return
        call: Call[Nothing] = Call(key=key, input=Nothing())
        # History must have the decision to undo before the ledger lets the run do no more: if a local step closed the
        # generation and its task was lost, the next worker could decide to go on, and would be refused.
        policy = FINAL_STEP if workflow.patched("find-lost-steps-regularly") else replace(FINAL_STEP, local_tries=2)
        found = await execute(SagaActivities.find_undoable, call, policy)
        done = {undo.call["key"]["step"]: undo for undo in reversed(found.steps)}
        self._undos = [done.pop(undo.call["key"]["step"], undo) for undo in self._undos] + list(done.values())

    async def run(self) -> list[str]:
        """Run all undos, newest first, and record them in the progress; return the steps that could not be undone."""
        failed = []
        while self._undos:
            undo = self._undos.pop()
            step = self._progress.step(undo.call["key"]["step"])
            try:
                await execute_undo(undo, UNDO)
                step.state = "undone"
                count(STEPS_UNDONE, step=step.kind)
            except FailureError as failure:
                step.state, step.error = "undo_failed", describe(failure)
                failed.append(f"{step.name} ({step.error})")
                count(UNDO_FAILURES, step=step.kind)
        return failed
