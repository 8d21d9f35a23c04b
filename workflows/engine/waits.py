"""Waits of a saga: ask, then wait for the answer, for seconds or weeks, at no cost (W1 to W6).

Before a round asks, it opens a row (commerce/waits.py). Answers are written into that row, and the Update `answer-step`
wakes the process. The row decides what counts. The process only holds what the row has said.
"""

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import describe, surface, to_failure
    from activities.waits import WaitActivities
    from commerce.errors import AlreadyAnswered, AnsweredWithFailure, BadInput, Unanswered, WaitNotFound, WaitOver
    from commerce.messages.base import Message
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import StepProgress
    from commerce.messages.waits import (
        UPDATE,
        CloseWait,
        EndedWait,
        OpenWait,
        RecordAnswer,
        StepAnswer,
        TakenAnswer,
        WaitEnd,
        WaitKey,
        answer_problems,
    )
    from workflows.engine.alerts import alert_admins
    from workflows.engine.calls import call_of, execute
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.policies import FINAL_STEP, OPEN_WAIT
    from workflows.engine.search_attributes import publish_waiting

if TYPE_CHECKING:
    from workflows.engine.saga import Saga

AnswerT = TypeVar("AnswerT", bound=Message)
REMINDERS = (0.5, 0.9)  # parts of the time after which the admins are reminded


@dataclass
class _Wait:
    """One round. `answer` is what the row said; `handlers` is the number of Updates under way."""

    opened: OpenWait
    model: type[Message]
    answer: EndedWait | None = None
    handlers: int = 0

    @property
    def name(self) -> str:
        """The name of the step, the same in all rounds."""
        return self.opened.key.step


class Waits:
    """What one saga waits for, and the Update that answers it."""

    def __init__(self, saga: "Saga") -> None:
        self._saga = saga
        self._open: list[_Wait] = []
        self._ended: dict[str, WaitEnd] = {}  # by name of the step: how its last round ended
        workflow.set_update_handler(UPDATE, self._take, validator=self._check)

    async def ask(
        self,
        key: WaitKey,
        request: Callable[[WaitKey], Awaitable[Any]],
        answer: type[AnswerT],
        until: timedelta,
        remind: Alert | None,
        default: AnswerT | None,
        accepts: Callable[[AnswerT], Awaitable[bool]] | None,
    ) -> AnswerT:
        """Call `request`, and wait until it is answered, in as many rounds as it takes.

        A success that `accepts` refuses asks again, as the answer `retry` does.

        Raises ApplicationError: AnsweredWithFailure, or Unanswered if the time is over and there is no `default`.
        """
        for number in itertools.count(1):
            now = workflow.now()
            opened = OpenWait(key=key.model_copy(update={"round": number}), asked_at=now, until=now + until)
            ended = await self._round(_Wait(opened, answer), request, remind)
            if ended.kind == "success":
                given = answer.model_validate(ended.data or {})
                if accepts is None or await accepts(given):
                    return given
            elif ended.kind == "failure":
                raise to_failure(AnsweredWithFailure(key.step))
            elif ended.kind != "retry":
                break
        if default is None:
            raise to_failure(Unanswered(key.step))
        return default

    async def _round(
        self, wait: _Wait, request: Callable[[WaitKey], Awaitable[Any]], remind: Alert | None
    ) -> EndedWait:
        self._open.append(wait)
        try:
            # First of all: who is asked may answer before the request has returned.
            opening = call_of("open-wait", wait.opened)
            await self._saga.until_ended(lambda: execute(WaitActivities.open, opening, OPEN_WAIT))
            await request(wait.opened.key)
            self._show(wait)
            await self._saga.until_ended(lambda: self._until_answered(wait, remind))
        except CANCEL_OR_FAILURE as failure:
            self._end(wait, await uninterrupted(self._close(wait, "withdrawn")), describe(failure))
            await uninterrupted(self._finish(wait))
            raise
        ended = wait.answer
        if ended is None:
            ended = await uninterrupted(self._close(wait, "expired"))
        self._end(wait, ended, "no answer in time" if ended.kind == "expired" else None)
        await uninterrupted(self._finish(wait))
        return ended

    async def _until_answered(self, wait: _Wait, remind: Alert | None) -> None:
        """Wait for the answer or the end of the time. On the way, remind the admins with the alert `remind`."""
        asked, until = wait.opened.asked_at, wait.opened.until
        for part in (*(REMINDERS if remind else ()), 1.0):
            with suppress(TimeoutError):
                left = asked + (until - asked) * part - workflow.now()
                await workflow.wait_condition(lambda: wait.answer is not None, timeout=max(left, timedelta(0)))
            if wait.answer:
                return
            if remind and part < 1:
                key = f"{remind.key}/{wait.opened.key.round}/{part}"
                await alert_admins(remind.model_copy(update={"key": key}))

    async def _close(self, wait: _Wait, end: str) -> EndedWait:
        close = CloseWait(**dict(wait.opened), end=end)
        return await execute(WaitActivities.close, call_of("close-wait", close), FINAL_STEP)

    async def _finish(self, wait: _Wait) -> None:
        """Wait for the Updates that are under way: they get their answer before the process continues."""
        await workflow.wait_condition(lambda: wait.handlers == 0)

    def _show(self, wait: _Wait) -> None:
        step = self._progress_of(wait)
        step.state, step.ended_at, step.until = "waiting", None, wait.opened.until
        self._publish()

    def _end(self, wait: _Wait, ended: EndedWait, error: str | None) -> None:
        self._open.remove(wait)
        self._ended[wait.name] = ended.kind
        step = self._progress_of(wait)
        if step.state == "waiting":
            step.state, step.ended_at, step.until = "done", workflow.now(), None
            step.note = ended.kind
            if error or ended.kind == "failure":
                step.state, step.error = "failed", error
            self._publish()

    def _publish(self) -> None:
        waiting = [wait.name for wait in self._open if self._progress_of(wait).state == "waiting"]
        publish_waiting(self._saga.progress, waiting[0] if waiting else None)

    def _progress_of(self, wait: _Wait) -> StepProgress:
        return self._saga.progress.step(wait.opened.key.request)

    def _check(self, given: StepAnswer) -> None:
        """Refuse an Update that cannot be right: unknown step, already answered or over, wrong shape (W3)."""
        wait = self._find(given.step)
        if given.recorded is None and (problems := answer_problems(given.answer, given.data, wait.model)):
            raise to_failure(BadInput(problems))

    async def _take(self, given: StepAnswer) -> TakenAnswer:
        """Answer a step that waits. `answer`: success (with its data), failure (undo everything), retry (ask again)."""
        wait = self._find(given.step)
        wait.handlers += 1
        try:
            record = RecordAnswer(key=wait.opened.key, answer=given)
            ended = await execute(WaitActivities.record, call_of("record-answer", record), FINAL_STEP)
        except FailureError as failure:
            raise surface(failure) from None
        finally:
            wait.handlers -= 1
        if ended.round == wait.opened.key.round:
            wait.answer = ended
        return TakenAnswer(step=given.step, answer=ended.kind, round=ended.round)

    def _find(self, name: str) -> _Wait:
        """Return the open round of a step. Raises ApplicationError: WaitNotFound, AlreadyAnswered or WaitOver."""
        found = next((wait for wait in self._open if wait.name == name), None)
        if found is not None:
            return found
        raise self._refusal(name)

    def _refusal(self, name: str) -> ApplicationError:
        process, ended = workflow.info().workflow_id, self._ended.get(name)
        if ended is None:
            return to_failure(WaitNotFound(process))
        if ended in ("success", "failure", "retry"):
            return to_failure(AlreadyAnswered(process, f"step {name} has an answer already"))
        return to_failure(WaitOver(process, f"step {name} no longer waits"))
