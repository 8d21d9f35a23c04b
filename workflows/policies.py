"""The few ways a step may be called: how long it may take, how often and how long it is tried."""

import inspect
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import workflow
from temporalio.common import RetryPolicy

with workflow.unsafe.imports_passed_through():
    from commerce.messages.base import Message
    from commerce.messages.steps import Call, Leftover, StepKey

T = TypeVar("T")
InputT = TypeVar("InputT", bound=Message)
CallT = TypeVar("CallT")
Method = Callable[..., Awaitable[Any]]


@dataclass(frozen=True)
class Policy:
    """`attempt` bounds one try, `deadline` all of them; without a deadline it is tried until it works.

    `silence`: how long a try may say nothing before it is taken for lost; see activities/liveness.py.
    """

    attempt: timedelta
    deadline: timedelta | None
    retry: RetryPolicy
    silence: timedelta | None = None


DATABASE_STEP = Policy(
    attempt=timedelta(seconds=15),
    deadline=timedelta(hours=24),  # a database or a worker that is away for a night undoes no order
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(seconds=30)),
)
# One attempt makes a few calls of 10 s at most and holds a lease of 25 s, see activities/fulfillment.py.
OUTSIDE_STEP = Policy(
    attempt=timedelta(seconds=30),
    deadline=timedelta(hours=1),  # so long may stock be held for a carrier that does not answer
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_interval=timedelta(seconds=30)),
)
# The final step has no deadline: it happens, or is refused for good.
FINAL_STEP = Policy(attempt=timedelta(seconds=15), deadline=None, retry=DATABASE_STEP.retry)
# Six tries within a minute (V8): after 0, 1, 3, 7, 15 and 31 s when the mail server answers at once.
MAIL = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,  # it would count the time without a worker too, and end before the six tries
    retry=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=6),
)
# A batch of a job: one try, for the job itself counts its errors; a lost worker is noticed after `silence`.
BATCH = Policy(
    attempt=timedelta(seconds=60),
    deadline=None,
    retry=RetryPolicy(maximum_attempts=1),
    silence=timedelta(seconds=15),
)
LONG_BATCH = replace(BATCH, attempt=timedelta(minutes=3))
# Admins' alerts: six tries within half a minute; what is not delivered then is marked failed.
ALERT = Policy(
    attempt=timedelta(seconds=15),
    deadline=None,
    retry=RetryPolicy(initial_interval=timedelta(milliseconds=500), maximum_attempts=6),
)
# Undoing is worth the patience of hours: 60 tries, from 200 ms to 5 minutes apart.
UNDO = Policy(
    attempt=timedelta(seconds=30),
    deadline=None,
    retry=RetryPolicy(
        initial_interval=timedelta(milliseconds=200), maximum_interval=timedelta(minutes=5), maximum_attempts=60
    ),
)


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
