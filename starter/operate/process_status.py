"""The status of one process: its latest run, step by step, with its result or error."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, get_args
from urllib.parse import quote

from temporalio.api.enums.v1 import PendingWorkflowTaskState
from temporalio.api.errordetails.v1 import QueryFailedFailure
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.boundary.failures import describe, failure_type
from commerce.errors import BadInput, ResetTooLate
from commerce.messages.progress import ProcessState, Progress
from commerce.messages.runs import ProcessStatus, Run, RunProgress, StepStatus
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.run_history import count_attempts, get_latest_run, recent_events, status_of, stuck_reason
from workflows.engine.search_attributes import FAILED_STEP, FAILURE_TYPE, OUTCOME, SAGA_STATE, WAITING_FOR

INVALID_INPUT = "it has no steps, because its input is invalid"
QUERY_TIMEOUT = timedelta(seconds=2)
TASK_STARTED = PendingWorkflowTaskState.PENDING_WORKFLOW_TASK_STATE_STARTED
BUSY = "its worker is busy with a step and shows the progress when that has ended"
STATES: Mapping[str, ProcessState] = {state: state for state in get_args(ProcessState)}


async def get_status(client: Client, process_id: str, *, ui: str | None = None) -> ProcessStatus:
    """Return the status of a process's latest run; `ui` is the address of Temporal's UI, for the link to the run.

    Raises ProcessNotFound, Unreachable.
    """
    run = await get_latest_run(client, process_id)
    handle = client.get_workflow_handle(run.id, run_id=run.run_id)
    with unreachable_if_refused(f"describe {process_id}"):
        (progress, query_error), (result, error), events = await asyncio.gather(
            _query_progress(client, handle, run), _result_or_error(handle, run), recent_events(client, run)
        )
    attempts = count_attempts(events, _pending_activities(run))
    return ProcessStatus(
        **to_run(run, progress and progress.state).model_dump(),
        progress=await _run_progress(client, run, progress, attempts) if progress else None,
        # The workflow could not read its input, so its queries fail with an error of the SDK.
        progress_missing=INVALID_INPUT if query_error and _is_bad_input(error) else query_error,
        result=result,
        error=error or await stuck_reason(client, run, events),
        ui_url=ui and _ui_url(ui, run),
    )


def _is_bad_input(error: str | None) -> bool:
    return error is not None and error.startswith(f"{BadInput.__name__}:")


def to_run(run: WorkflowExecution, queried_state: str | None = None) -> Run:
    """Return Temporal's description of a run as a message; its search attributes name the state if no worker did."""
    return Run(
        transaction_id=run.id,
        run_id=run.run_id,
        type=run.workflow_type,
        status=status_of(run),
        state=_process_state(run, queried_state or run.typed_search_attributes.get(SAGA_STATE)),
        started_at=run.start_time,
        ended_at=run.close_time,
        failed_step=run.typed_search_attributes.get(FAILED_STEP),
        failure_type=run.typed_search_attributes.get(FAILURE_TYPE) if status_of(run) == "failed" else None,
        outcome=run.typed_search_attributes.get(OUTCOME) if status_of(run) == "completed" else None,
        waiting_for=run.typed_search_attributes.get(WAITING_FOR) if status_of(run) == "running" else None,
    )


async def _query_progress(
    client: Client, handle: WorkflowHandle[Any, Any], run: WorkflowExecutionDescription
) -> tuple[Progress | None, str | None]:
    """Query a run for its progress; return the progress, or the reason why there is none.

    While a worker runs local steps, it does not answer queries of that run.
    """
    try:
        return await handle.query("progress", result_type=Progress, rpc_timeout=QUERY_TIMEOUT), None
    except WorkflowQueryFailedError as failure:
        return None, await _query_error(client, failure)
    except RPCError as error:
        if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
            busy = run.raw_description.pending_workflow_task.state == TASK_STARTED
            return None, BUSY if busy else f"no worker answered within {QUERY_TIMEOUT.seconds} s"
        return None, error.message


async def _query_error(client: Client, failure: WorkflowQueryFailedError) -> str:
    """Return why a query failed. The SDK's own exception has only what is readable without a key."""
    status = failure.__context__.grpc_status if isinstance(failure.__context__, RPCError) else None
    for detail in status.details if status else ():
        encrypted = QueryFailedFailure()
        if detail.Unpack(encrypted):
            return describe(await client.data_converter.decode_failure(encrypted.failure))
    return str(failure)


async def _result_or_error(handle: WorkflowHandle[Any, Any], run: WorkflowExecution) -> tuple[Any, str | None]:
    """Return the result of a completed run, or the error of one that failed; (None, None) for a running one."""
    if status_of(run) == "running":
        return None, None
    try:
        return await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT), None
    except WorkflowFailureError as failure:
        return None, _describe_failure(failure)


def _describe_failure(failure: WorkflowFailureError) -> str:
    """Return the error that stopped a run, preceded by the undos that failed or the reset that cannot work."""
    top = failure.cause
    if isinstance(top, ApplicationError) and top.type in ("CompensationFailed", ResetTooLate.__name__):
        earlier = "a cancel" if failure_type(failure) == "CancelledError" else describe(failure)
        return f"{top.message.rstrip('.')} after {earlier}"
    return describe(failure)


async def _run_progress(
    client: Client, run: WorkflowExecutionDescription, progress: Progress, attempts: Mapping[str, int]
) -> RunProgress:
    """Complete the workflow's own progress with what only Temporal knows: attempts, last errors, interruption."""
    ended = status_of(run) != "running"
    for activity in _pending_activities(run):
        step = progress.step(activity.activity_type.name)
        step.state = "running" if step.state == "pending" else step.state  # an undo is not in the list of steps
        if activity.HasField("last_failure"):
            step.error = describe(await client.data_converter.decode_failure(activity.last_failure))
    for step in progress.steps:
        if ended and step.state in ("running", "waiting"):
            step.state, step.error = "failed", step.error or "interrupted when the run ended"
    steps = [StepStatus(**step.model_dump(), attempts=attempts.get(step.name, 0)) for step in progress.steps]
    return RunProgress(state=_process_state(run, progress.state) or progress.state, steps=steps)


def _pending_activities(run: WorkflowExecutionDescription) -> Sequence[PendingActivityInfo]:
    return run.raw_description.pending_activities


def _process_state(run: WorkflowExecution, last_state: str | None) -> ProcessState | None:
    """Return the state that the workflow last reported, corrected for a run that was terminated or timed out."""
    status = status_of(run)
    if status != "running" and last_state in (None, "running", "waiting", "compensating"):
        return "completed" if status == "completed" else "failed"
    return STATES.get(last_state or "")


def _ui_url(ui: str, run: WorkflowExecution) -> str:
    path = "/".join(quote(part, safe="") for part in (run.namespace, "workflows", run.id, run.run_id))
    return f"{ui.rstrip('/')}/namespaces/{path}/history"
