"""How a process calls a step: its key, its timeouts and retries, and its summary in Temporal's UI."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from commerce.messages.base import Message
    from commerce.messages.steps import Call, Leftover, StepKey
    from workflows.engine.policies import Policy

T = TypeVar("T")
InputT = TypeVar("InputT", bound=Message)
CallT = TypeVar("CallT")
Method = Callable[..., Awaitable[Any]]

# A cancelled parent cancels its child and waits until that has undone itself; a terminated parent only cancels it.
CHILD: dict[str, Any] = {
    "cancellation_type": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    "parent_close_policy": workflow.ParentClosePolicy.REQUEST_CANCEL,
}


def execute(step: Callable[[Any, CallT], Awaitable[T]], call: CallT, policy: Policy) -> Coroutine[Any, Any, T]:
    """Call a step. The first line of its docstring becomes its summary in Temporal's UI."""
    summary = (inspect.getdoc(step) or "").split("\n")[0]
    if policy.tries and isinstance(call, Call):
        call = call.model_copy(update={"tries": policy.tries})
    return workflow.execute_activity_method(step, call, summary=summary, **_options(policy))


def execute_undo(undo: Leftover, policy: Policy) -> Coroutine[Any, Any, Any]:
    """Call the undo recorded for a step."""
    summary = f"Undo {undo.call['key']['step']}"
    call = undo.call | {"tries": policy.tries}
    return workflow.execute_activity(undo.undo, call, summary=summary, **_options(policy))


def _options(policy: Policy) -> dict[str, Any]:
    return {
        "start_to_close_timeout": policy.attempt,
        "schedule_to_close_timeout": policy.deadline,
        "heartbeat_timeout": policy.silence,
        "retry_policy": policy.retry,
        # A cancelled step must end before its undo may start.
        "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }


def name_of(method: Method) -> str:
    """Return the name that an activity method is registered under."""
    name: str = getattr(method, "__temporal_activity_definition").name
    return name


def note_of(answer: object) -> str:
    """Return a step's answer in a few words for its progress; empty if it is not one of our messages."""
    return answer.summary() if isinstance(answer, Message) else ""


def call_of(step: str, value: InputT) -> Call[InputT]:
    """Return the call of a step outside a saga, without an undo."""
    return Call(key=key_of(step, workflow.info().run_id), input=value)


def key_of(step: str, generation: str) -> StepKey:
    """Return the key of a step of this process."""
    return StepKey(business_key=workflow.info().workflow_id, step=step, generation=generation)


def is_reset() -> bool:
    """Return whether this run was made by Temporal's reset of another one."""
    info = workflow.info()
    return info.run_id != info.original_execution_run_id
