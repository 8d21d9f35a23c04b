"""How a process calls a step: its key, its options, and the summary that Temporal's UI shows."""

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

# A child hears of our cancel and undoes itself; when we are terminated it is cancelled too.
CHILD: dict[str, Any] = {
    "cancellation_type": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    "parent_close_policy": workflow.ParentClosePolicy.REQUEST_CANCEL,
}


def execute(step: Callable[[Any, CallT], Awaitable[T]], call: CallT, policy: Policy) -> Coroutine[Any, Any, T]:
    """Call a step the one way a step is called; its docstring is what Temporal's UI shows of it."""
    summary = (inspect.getdoc(step) or "").split("\n")[0]
    return workflow.execute_activity_method(step, call, summary=summary, **_options(policy))


def execute_undo(undo: Leftover, policy: Policy) -> Coroutine[Any, Any, Any]:
    """Call the undo that was recorded for a step."""
    summary = f"Undo {undo.call['key']['step']}"
    return workflow.execute_activity(undo.undo, undo.call, summary=summary, **_options(policy))


def _options(policy: Policy) -> dict[str, Any]:
    return {
        "start_to_close_timeout": policy.attempt,
        "schedule_to_close_timeout": policy.deadline,
        "heartbeat_timeout": policy.silence,
        "retry_policy": policy.retry,
        # A step that has begun ends before its undo may begin.
        "cancellation_type": workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
    }


def name_of(method: Method) -> str:
    """Return the name under which an activity's method is registered."""
    name: str = getattr(method, "__temporal_activity_definition").name
    return name


def note_of(answer: object) -> str:
    """Return a step's answer in a few words; what others than our steps answer says nothing."""
    return answer.note() if isinstance(answer, Message) else ""


def call_of(step: str, value: InputT) -> Call[InputT]:
    """Return the call of a step that has nothing to undo."""
    return Call(key=key_of(step), input=value)


def key_of(step: str) -> StepKey:
    """Return the key of a step of this run: it survives a reset, and is another for a new run."""
    info = workflow.info()
    return StepKey(business_key=info.workflow_id, step=step, generation=info.original_execution_run_id)
