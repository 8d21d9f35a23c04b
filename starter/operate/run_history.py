"""What Temporal stores about one run: its description, its recent history, and the errors of its workflow code."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from temporalio.api.common.v1 import WorkflowExecution as RunReference
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecution, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.boundary.failures import describe
from commerce.errors import ProcessNotFound, Unreachable
from commerce.messages.runs import RunStatus
from starter.connection.rpc import RPC_TIMEOUT, find_latest_run, unreachable_if_refused

LOCAL_STEP = "core_local_activity"  # the name of the SDK's marker
MAX_RECENT_EVENTS = 250  # the whole history of most processes, the last batches of a job
REPORTED_PROBLEMS = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
STATUSES: Mapping[WorkflowExecutionStatus, RunStatus] = {
    WorkflowExecutionStatus.RUNNING: "running",
    WorkflowExecutionStatus.CONTINUED_AS_NEW: "running",
    WorkflowExecutionStatus.COMPLETED: "completed",
    WorkflowExecutionStatus.FAILED: "failed",
    WorkflowExecutionStatus.CANCELED: "cancelled",
    WorkflowExecutionStatus.TERMINATED: "terminated",
    WorkflowExecutionStatus.TIMED_OUT: "timed_out",
}


async def get_latest_run(client: Client, process_id: str) -> WorkflowExecutionDescription:
    """Describe the latest run of a process. Raises ProcessNotFound, Unreachable."""
    with unreachable_if_refused(f"describe {process_id}"):
        run = await find_latest_run(client, process_id)
    if run is None:
        raise ProcessNotFound(process_id)
    return run


def first_run_id(run: WorkflowExecutionDescription) -> str:
    """Return the id of the first run in the chain that this run continues."""
    return run.raw_description.workflow_execution_info.first_run_id


async def start_event(client: Client, run: WorkflowExecutionDescription) -> HistoryEvent | None:
    """Return the start event of the first run in the chain that this run continues: it holds the original input.

    None if Temporal has deleted it. Raises Unreachable.
    """
    first = client.get_workflow_handle(run.id, run_id=first_run_id(run))
    try:
        return await anext(first.fetch_history_events(page_size=1, rpc_timeout=RPC_TIMEOUT))
    except RPCError as error:
        if error.status == RPCStatusCode.NOT_FOUND:
            return None
        raise Unreachable(f"Temporal could not return the input of {run.id}: {error.message}") from error


async def load_input(client: Client, run: WorkflowExecutionDescription) -> Any:
    """Return the input of a process as a JSON value; None if it has none, or Temporal has deleted it.

    Raises Unreachable, MissingKey.
    """
    started = await start_event(client, run)
    payloads = started.workflow_execution_started_event_attributes.input.payloads if started else ()
    values = await client.data_converter.decode(payloads) if payloads else []
    return values[0] if values else None


def status_of(run: WorkflowExecution) -> RunStatus:
    """Return Temporal's status of a run under our name for it."""
    return STATUSES[run.status or WorkflowExecutionStatus.RUNNING]


async def recent_events(client: Client, run: WorkflowExecution) -> Sequence[HistoryEvent]:
    """Return the last events of a run's history, oldest first. Raises RPCError."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=RunReference(workflow_id=run.id, run_id=run.run_id),
        maximum_page_size=MAX_RECENT_EVENTS,
    )
    answer = await client.workflow_service.get_workflow_execution_history_reverse(
        request, retry=True, timeout=RPC_TIMEOUT
    )
    return answer.history.events[::-1]


async def stuck_reason(client: Client, run: WorkflowExecution, events: Sequence[HistoryEvent]) -> str | None:
    """Return the error that the workflow code of a running run fails with, or None if Temporal reports none.

    `events` are the run's recent events.
    """
    reported = run.typed_search_attributes.get(REPORTED_PROBLEMS)
    if not reported or status_of(run) != "running":
        return None
    return await last_error_of_code(client, events) or ", ".join(reported)


async def last_error_of_code(client: Client, events: Sequence[HistoryEvent]) -> str | None:
    """Return the error of the last workflow task that failed, or None if none did. `events` are the recent ones."""
    for event in reversed(events):
        if event.HasField("workflow_task_failed_event_attributes"):
            failure = event.workflow_task_failed_event_attributes.failure
            return describe(await client.data_converter.decode_failure(failure))
    return None


def step_outcome(events: Sequence[HistoryEvent], step: str) -> str | None:
    """Return "done" if a step was ever done, else the type of the error it last failed with, or None."""
    scheduled: set[int] = set()
    failed: str | None = None
    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            if event.activity_task_scheduled_event_attributes.activity_type.name == step:
                scheduled.add(event.event_id)
        elif event.HasField("activity_task_completed_event_attributes"):
            if event.activity_task_completed_event_attributes.scheduled_event_id in scheduled:
                return "done"
        elif event.HasField("activity_task_failed_event_attributes"):
            failure = event.activity_task_failed_event_attributes
            if failure.scheduled_event_id in scheduled:
                failed = failure.failure.application_failure_info.type
        elif (local := _local_step(event)) and local.name == step:
            if local.done:
                return "done"
            failed = local.refusal or failed
    return failed


def count_attempts(events: Sequence[HistoryEvent], pending: Sequence[PendingActivityInfo]) -> Mapping[str, int]:
    """Count the attempts of each activity since it last completed.

    Attempts of several calls add up: a job retries a batch by calling the activity again.
    """
    names: dict[int, str] = {}
    attempts: dict[str, int] = {}
    completed: set[str] = set()

    def add(name: str, attempt: int) -> None:
        attempts[name] = attempt + (0 if name in completed else attempts.get(name, 0))
        completed.discard(name)

    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.HasField("activity_task_started_event_attributes"):
            start = event.activity_task_started_event_attributes
            add(names.get(start.scheduled_event_id, ""), start.attempt)
        elif event.HasField("activity_task_completed_event_attributes"):
            completed.add(names.get(event.activity_task_completed_event_attributes.scheduled_event_id, ""))
        elif local := _local_step(event):
            add(local.name, local.attempts)
            if local.done:
                completed.add(local.name)
    for activity in pending:
        add(activity.activity_type.name, activity.attempt)
    return attempts


class _LocalStep(NamedTuple):
    """What the marker of a step that ran locally says.

    `refusal` is the type of a permanent error. After any other error, the step continues as a regular activity.
    """

    name: str
    attempts: int
    done: bool
    refusal: str | None


def _local_step(event: HistoryEvent) -> _LocalStep | None:
    marker = event.marker_recorded_event_attributes
    if marker.marker_name != LOCAL_STEP:
        return None
    data = json.loads(marker.details["data"].payloads[0].data)
    error = marker.failure.application_failure_info
    done, refusal = not marker.HasField("failure"), error.type if error.non_retryable else None
    return _LocalStep(data["activity_type"], data["attempt"], done, refusal)
