"""What every process does before its own first line: refuse an input that does not fit, instead of hanging on it."""

from typing import Any

from temporalio import workflow
from temporalio.worker import (
    ExecuteWorkflowInput,
    Interceptor,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
)

with workflow.unsafe.imports_passed_through():
    from activities.failures import to_failure
    from commerce.errors import BadInput
    from commerce.messages.base import FieldError


class InputInterceptor(Interceptor):
    """Lets a process begin only with exactly one input of its own kind."""

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Name the wrapper of each run."""
        return _InputInbound


class _InputInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's own name
        # The marker, not isinstance: the sandbox may hold another copy of the class.
        if len(input.args) != 1 or not getattr(input.args[0], "is_process_input", False):
            problem = FieldError(field="input", message=f"one object is expected, got {len(input.args)} arguments")
            raise to_failure(BadInput([problem]))
        return await super().execute_workflow(input)
