"""A worker with bugs whose errors contain personal data: `python -m tests.system.leak_worker`.

FAULTS is a JSON object of faults by process id. A fault is one of these:

- STEP: the step fails with an unexpected error in its first attempt and permanently in its second
- `STEP waits`: the first attempt creates a file named after the process in the folder MARKERS, and waits until there is
  a file `<process> continues`

In addition, the workflow fails for every order whose id starts with BUGGY.
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
    from tests.system.leak_words import CUSTOMER, ERROR_TEXTS

BUGGY = "bug"  # prefix of the ids of orders whose workflow has a bug


class LeakingFaults(Interceptor):
    """Applies the faults to the steps, and the bug to the workflow."""

    def __init__(self, by_process: Mapping[str, str], markers: Path) -> None:
        self.by_process, self.markers = by_process, markers

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _FaultyActivities(next, self)

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return _BuggyWorkflow


class _FaultyActivities(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, faults: LeakingFaults) -> None:  # noqa: A002
        super().__init__(next)
        self._faults = faults

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        info = activity.info()
        process, step = str(info.workflow_id), info.activity_type
        fault = self._faults.by_process.get(process)
        if fault == step:
            _fail(step, info.attempt)
        if fault == f"{step} waits":
            await self._wait(process)
        return await super().execute_activity(input)

    async def _wait(self, process: str) -> None:
        marker = self._faults.markers / process
        if not marker.exists():
            marker.touch()
            while not marker.with_name(f"{process} continues").exists():  # noqa: ASYNC110 - the test creates the file
                await asyncio.sleep(0.02)


def _fail(step: str, attempt: int) -> None:
    if attempt > 1:
        raise ApplicationError(ERROR_TEXTS[step], CUSTOMER, type="Leaking", non_retryable=True)
    try:
        raise LookupError(ERROR_TEXTS[step])
    except LookupError as error:
        raise ValueError(f"{ERROR_TEXTS[step]}, again") from error


class _BuggyWorkflow(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        if workflow.info().workflow_id.startswith(order_process_id(BUGGY)):
            raise ValueError(ERROR_TEXTS["process"])
        return await super().execute_workflow(input)


if __name__ == "__main__":
    worker.main([LeakingFaults(json.loads(os.environ["FAULTS"]), Path(os.environ["MARKERS"]))])
