"""Fail a run whose input does not fit, and count how every run ends."""

from collections.abc import Callable
from typing import Any, get_type_hints

from pydantic import ValidationError
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
    from commerce.messages.base import FieldError, field_errors
    from workflows.engine.cancellation import CANCEL_OR_FAILURE
    from workflows.engine.metrics import count_failure, count_result


class InputInterceptor(Interceptor):
    """Fails a run with BadInput unless it has exactly one argument, which must be a ProcessInput.

    A client may leave the argument out, or send null: then the process gets an input without any field.
    """

    def workflow_interceptor_class(self, _input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        """Return the interceptor of each run."""
        return _InputInbound


class _InputInbound(WorkflowInboundInterceptor):
    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002 - the SDK's own name
        # Continuing as new and a bug (which leaves the run open) do not end the process, so they are not counted.
        try:
            result = await self._execute(input)
        except CANCEL_OR_FAILURE as failure:
            count_failure(failure)
            raise
        count_result(result)
        return result

    async def _execute(self, input: ExecuteWorkflowInput) -> Any:  # noqa: A002
        if list(input.args) in ([], [None]) and workflow.patched("input-may-be-left-out"):
            input.args = [_empty_input(input.run_fn)]
        # Check the marker instead of isinstance: the sandbox may hold another copy of the class.
        if len(input.args) != 1 or not getattr(input.args[0], "is_process_input", False):
            problem = FieldError(field="input", message=f"must be one object, got {len(input.args)} arguments")
            raise to_failure(BadInput([problem]))
        return await super().execute_workflow(input)


def _empty_input(run: Callable[..., Any]) -> Any:
    """Return an input without any field for a workflow's run method. Raises BadInput if a field is required."""
    (input_type,) = (hint for name, hint in get_type_hints(run).items() if name != "return")
    try:
        return input_type()
    except ValidationError as error:
        raise to_failure(BadInput(field_errors(error))) from None
