"""Interceptors for workers of tests: they make steps fail or wait, and processes retry at once."""

import asyncio
import sys
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Literal

from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    StartActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)
from temporalio.workflow import ActivityHandle

Where = Literal["before", "after"]
SHORT_BACKOFF = timedelta(milliseconds=20)


class Faults(Interceptor):
    """Makes the listed steps fail: before their body, or after it, so that the step is done but its result is lost."""

    def __init__(
        self, steps: Mapping[str, Where], *, permanent: bool = True, times: int = 1_000_000, error: str = "Refused"
    ) -> None:
        self.steps, self.permanent, self.times, self.refused = dict(steps), permanent, times, 0
        self.error = error  # the type of the failure

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Faulty(next, self)


class _Faulty(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: Faults) -> None:  # noqa: A002
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        step = activity.info().activity_type
        self._fail(step, "before")
        answer = await super().execute_activity(input)
        self._fail(step, "after")
        return answer

    def _fail(self, step: str, where: Where) -> None:
        faults = self._faults
        if faults.steps.get(step) == where and faults.refused < faults.times:
            faults.refused += 1
            raise ApplicationError(f"{step} is refused by the test", type=faults.error, non_retryable=faults.permanent)


class Gate(Interceptor):
    """Holds the first regular attempt of a step before its body until `opened` is set; local ones fail before that.

    `reached` is set when the attempt is held, `left` when it has ended; `error` is what it raised.
    """

    before = True

    def __init__(self, step: str) -> None:
        self.step, self.reached, self.opened, self.left = step, asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.error: BaseException | None = None

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Gated(next, self)


class Hold(Gate):
    """Holds every attempt of a step before its body until `opened` is set, local ones too."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Held(next, self)


class AnswerGate(Gate):
    """Holds the first attempt of a step after its body: done or failed, but not answered yet."""

    before = False


class AnswerHold(Hold):
    """Holds every attempt of a step after its body: done, but not answered yet."""

    before = False


class _Gated(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, gate: Gate) -> None:  # noqa: A002
        super().__init__(next)
        self._gate = gate

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        gate = self._gate
        if activity.info().activity_type != gate.step or gate.reached.is_set():
            return await super().execute_activity(input)
        if activity.info().is_local:
            raise ApplicationError("the test holds a regular attempt")
        if gate.before:
            await self._hold()
        try:
            return await super().execute_activity(input)
        except BaseException as error:
            gate.error = error
            raise
        finally:
            if not gate.before:
                await self._hold()
            gate.left.set()

    async def _hold(self) -> None:
        self._gate.reached.set()
        await self._gate.opened.wait()


class _Held(_Gated):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        held = activity.info().activity_type == self._gate.step
        if held and self._gate.before:
            await self._hold()
        answer = await self.next.execute_activity(input)
        if held and not self._gate.before:
            await self._hold()
        return answer


class ShortBackoff(Interceptor):
    """Makes processes retry steps, and jobs batches, almost at once. The number of tries does not change."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _ImpatientProcess


class _ImpatientProcess(WorkflowInboundInterceptor):
    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        super().init(_ImpatientCalls(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The sandbox gives every run its own copy of this module; only that one is changed.
        if (job := sys.modules.get("workflows.engine.job")) is not None:
            job.PAUSE = SHORT_BACKOFF  # type: ignore[attr-defined]
        return await super().execute_workflow(input)


class _ImpatientCalls(WorkflowOutboundInterceptor):
    def start_activity(self, input: StartActivityInput) -> ActivityHandle[Any]:  # noqa: A002
        assert input.retry_policy is not None
        input.retry_policy = replace(
            input.retry_policy, initial_interval=SHORT_BACKOFF, maximum_interval=5 * SHORT_BACKOFF
        )
        return super().start_activity(input)
