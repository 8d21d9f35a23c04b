"""What a saga has to undo, and undoing it, newest first."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe
    from activities.sagas import SagaActivities
    from commerce.messages.base import Nothing
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Call, Leftover, StepKey
    from commerce.telemetry.metrics import STEPS_UNDONE, UNDO_FAILURES
    from workflows.engine.calls import execute, execute_undo, runs_locally
    from workflows.engine.metrics import count
    from workflows.engine.policies import FINAL_STEP, LOCAL_FINAL_STEP, UNDO
    from workflows.engine.search_attributes import publish_state


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

    async def find_lost_steps(self, key: StepKey) -> bool:
        """Register the undos of steps that a lost workflow task has done, as the ledger has recorded them.

        Return False if the final step is one of them: nothing may be undone.
        """
        # History must have the decision to undo before the ledger lets the run do no more: if a local step closed the
        # generation and its task was lost, the next worker could decide to go on, and would be refused.
        step, policy = SagaActivities.close, FINAL_STEP
        if not runs_locally(LOCAL_FINAL_STEP):
            if not workflow.patched("local-steps"):
                return True
            step = SagaActivities.find_undoable
            if not workflow.patched("find-lost-steps-regularly"):
                policy = replace(FINAL_STEP, local_tries=2)
        call: Call[Nothing] = Call(key=key, input=Nothing())
        found = await execute(step, call, policy)
        if found.final:
            # A step whose answer came together with the cancel is shown as failed. It was done before the final one.
            for done in (self._progress.step(found.final), *self._progress.steps):
                if done.state == "failed" or done.name == found.final:
                    done.state, done.error = "done", None
            return False
        known = {undo.call["key"]["step"]: undo for undo in reversed(found.steps)}
        self._undos = [known.pop(undo.call["key"]["step"], undo) for undo in self._undos] + list(known.values())
        return True

    async def compensate(self, error: BaseException | None) -> None:
        """Run all undos, newest first. If some fail permanently the others still run, then CompensationFailed rises."""
        publish_state(self._progress, "compensating")
        failed = await self._run()
        publish_state(self._progress, "compensation_failed" if failed else "compensated")
        if failed:
            raise ApplicationError(f"Could not undo {', '.join(failed)}", type="CompensationFailed") from error

    async def _run(self) -> list[str]:
        """Run the undos and record them in the progress; return the steps that could not be undone."""
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
