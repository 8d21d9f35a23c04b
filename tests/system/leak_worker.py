"""A worker with bugs that blurt out what is personal: `python -m tests.system.leak_worker`.

MISCHIEF is a JSON object of process ids and what goes wrong there: a step's name, which fails in its first attempt with
a bug and in its second for good; or a step's name and `waits`: its first attempt makes a file named like the process in
the folder MARKERS, and waits until there is one named `<process> goes on`. Besides, the process of an order
whose id begins with BUGGY fails itself.
"""

import asyncio
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

with workflow.unsafe.imports_passed_through():
    import worker
    from commerce.messages.orders import order_process_id
    from tests.system.leak_words import BLURTED, SOMEBODY

BUGGY = "bug"  # what ids of orders begin with whose process itself fails


class Mischief(Interceptor):
    """Does what is wanted of a process, once."""

    def __init__(self, wanted: Mapping[str, str], markers: Path) -> None:
        self.wanted, self.markers = wanted, markers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _Steps(next, self)

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _Process


class _Steps(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, mischief: Mischief) -> None:  # noqa: A002
        super().__init__(next)
        self._mischief = mischief

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        process, step = str(info.workflow_id), info.activity_type
        wanted = self._mischief.wanted.get(process)
        if wanted == step:
            _fail(step, info.attempt)
        if wanted == f"{step} waits":
            await self._wait(process)
        return await super().execute_activity(input)

    async def _wait(self, process: str) -> None:
        marker = self._mischief.markers / process
        if not marker.exists():
            marker.touch()
            while not marker.with_name(f"{process} goes on").exists():  # noqa: ASYNC110 - others make it
                await asyncio.sleep(0.02)


def _fail(step: str, attempt: int) -> None:
    if attempt > 1:
        raise ApplicationError(BLURTED[step], SOMEBODY, type="Blurted", non_retryable=True)
    try:
        raise LookupError(BLURTED[step])
    except LookupError as error:
        raise ValueError(f"{BLURTED[step]}, again") from error


class _Process(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        if workflow.info().workflow_id.startswith(order_process_id(BUGGY)):
            raise ValueError(BLURTED["process"])
        return await super().execute_workflow(input)


if __name__ == "__main__":
    worker.main([Mischief(json.loads(os.environ["MISCHIEF"]), Path(os.environ["MARKERS"]))])
