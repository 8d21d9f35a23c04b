"""What every process does around its own lines: refuse an input that does not fit, and count how the run ends."""

from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import to_failure
    from commerce.errors import BadInput
    from commerce.messages.base import FieldError
    from workflows.engine.cancellation import STOPPED
    from workflows.engine.metrics import count_failure, count_result


class InputInterceptor(Interceptor):
    """Lets a process begin only with exactly one input of its own kind."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Name the wrapper of each run."""
        return _InputInbound


class _InputInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's own name
        # Neither a run that goes on as a new one nor a bug, which leaves it open, is the end of a process.
        try:
            result = await self._execute(input)
        except STOPPED as failure:
            count_failure(failure)
            raise
        count_result(result)
        return result

    async def _execute(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        # The marker, not isinstance: the sandbox may hold another copy of the class.
        if len(input.args) != 1 or not getattr(input.args[0], "is_process_input", False):
            problem = FieldError(field="input", message=f"one object is expected, got {len(input.args)} arguments")
            raise to_failure(BadInput([problem]))
        return await super().execute_workflow(input)
