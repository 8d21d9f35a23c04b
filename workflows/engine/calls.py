"""How a process calls a step: its key, its timeouts and retries, and its summary in Temporal's UI.

A step that is one short transaction, and the mail at the end, is first tried locally: by the worker that decides about
the process, as part of the same workflow task. History gets one event for it instead of six. If that fails, the same
call with the same key becomes a regular activity, with all the patience of its policy; the ledger makes the step take
effect once.
"""

import functools
import inspect
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar, get_type_hints

from temporalio import workflow
from temporalio.common import RawValue
from temporalio.exceptions import ActivityError, ApplicationError, FailureError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import counts
    from commerce.messages.base import Message
    from commerce.messages.steps import Call, Leftover, StepKey
    from workflows.engine.policies import ONCE, Policy

T = TypeVar("T")
InputT = TypeVar("InputT", bound=Message)
CallT = TypeVar("CallT")
Method = Callable[..., Awaitable[Any]]

# Newest first. Each implies those after it, so a new run records only the first one.
LOCAL_PATCHES = ("local-final-steps", "local-mails", "local-steps")
# A cancelled parent cancels its child and waits until that has undone itself; a terminated parent only cancels it.
CHILD: dict[str, Any] = {
    "cancellation_type": workflow.ChildWorkflowCancellationType.WAIT_CANCELLATION_COMPLETED,
    "parent_close_policy": workflow.ParentClosePolicy.REQUEST_CANCEL,
}


async def execute(step: Callable[[Any, CallT], Awaitable[T]], call: CallT, policy: Policy) -> T:
    """Call a step. The first line of its docstring becomes its summary in Temporal's UI."""
    summary = (inspect.getdoc(step) or "").split("\n")[0]
    if policy.tries and isinstance(call, Call):
        call = call.model_copy(update={"tries": policy.tries})
    for _ in range(policy.local_tries if runs_locally(policy) else 0):
        try:
            answer = await workflow.execute_local_activity(
                name_of(step),
                call,
                result_type=RawValue,
                summary=summary,
                start_to_close_timeout=policy.local_attempt,
                retry_policy=ONCE,  # the SDK does not stop the timer of an attempt that it retries (sdk-rust#1454)
                cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
            )
        except FailureError as failure:
            if _is_permanent(failure):
                raise
            if policy.tries and isinstance(call, Call) and counts(failure):
                call = call.model_copy(update={"tries": policy.tries - 1})
        else:
            return _decode(step, answer)
    return await workflow.execute_activity_method(step, call, summary=summary, **_options(policy))


def runs_locally(policy: Policy) -> bool:
    """Return whether steps with this policy are first tried locally. In older runs fewer are, or none."""
    if not policy.local_tries:
        return False
    known_since = LOCAL_PATCHES[: LOCAL_PATCHES.index(policy.local_since) + 1]
    return any(workflow.patched(patch) for patch in known_since)


def _decode(step: Callable[[Any, CallT], Awaitable[T]], answer: RawValue) -> T:
    """Return the answer of a local step.

    Raises NondeterminismError if it is that of another step. In a replay the SDK hands out recorded answers in their
    order, and compares the names of the steps only later.
    """
    decoded: T
    try:
        decoded = workflow.payload_converter().from_payload(answer.payload, _answer_type(step))
    except ValueError as error:
        reason = f"the recorded answer is not one of {name_of(step)}"
        raise workflow.NondeterminismError(f"{reason} ({type(error).__name__})") from None
    return decoded


@functools.cache
def _answer_type(step: Callable[..., Any]) -> type:
    answer: type = get_type_hints(step)["return"]
    return answer


def _is_permanent(failure: FailureError) -> bool:
    """Return whether more tries cannot help: the local step was refused permanently, or cancelled."""
    error = failure.cause if isinstance(failure, ActivityError) else failure
    return is_cancelled_exception(failure) or (isinstance(error, ApplicationError) and error.non_retryable)


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
