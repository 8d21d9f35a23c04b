"""One run of a process as Temporal has it: its description, the end of its history, and what its code stumbles over."""

from collections.abc import Mapping, Sequence

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.history.v1 import HistoryEvent
from temporalio.api.workflow.v1 import PendingActivityInfo
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryReverseRequest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.client import WorkflowExecution as Listed
from temporalio.common import SearchAttributeKey

from activities.boundary.failures import describe
from commerce.errors import ProcessNotFound
from commerce.messages.runs import RunStatus
from starter.connection.rpc import RPC_TIMEOUT, find_latest_run, unreachable_if_refused

RECENT = 250  # events: all of most processes, the last batches of a job
PROBLEMS = SearchAttributeKey.for_keyword_list("TemporalReportedProblems")
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
    """Describe the latest run of a process; raises ProcessNotFound, Unreachable."""
    with unreachable_if_refused(f"describe {process_id}"):
        found = await find_latest_run(client, process_id)
    if found is None:
        raise ProcessNotFound(process_id)
    return found


def status_of(run: Listed) -> RunStatus:
    """Return how Temporal says that a run stands."""
    return STATUSES[run.status or WorkflowExecutionStatus.RUNNING]


async def recent_events(client: Client, run: Listed) -> Sequence[HistoryEvent]:
    """Return the end of a run's history, oldest first; raises RPCError."""
    request = GetWorkflowExecutionHistoryReverseRequest(
        namespace=client.namespace,
        execution=WorkflowExecution(workflow_id=run.id, run_id=run.run_id),
        maximum_page_size=RECENT,
    )
    answer = await client.workflow_service.get_workflow_execution_history_reverse(
        request, retry=True, timeout=RPC_TIMEOUT
    )
    return answer.history.events[::-1]


async def stuck_reason(client: Client, run: Listed, events: Sequence[HistoryEvent]) -> str | None:
    """Return why the code of an open run fails, given its recent events; None: nobody has reported that it does."""
    reported = run.typed_search_attributes.get(PROBLEMS)
    if not reported or status_of(run) != "running":
        return None
    for event in reversed(events):
        if event.HasField("workflow_task_failed_event_attributes"):
            failure = event.workflow_task_failed_event_attributes.failure
            return describe(await client.data_converter.decode_failure(failure))
    return ", ".join(reported)


def count_attempts(events: Sequence[HistoryEvent], pending: Sequence[PendingActivityInfo]) -> Mapping[str, int]:
    """Count by activity how often it was begun since it was last done; a job's batches are tried as new activities."""
    names: dict[int, str] = {}
    counted: dict[str, int] = {}
    done: set[str] = set()

    def begun(name: str, attempt: int) -> None:
        counted[name] = attempt + (0 if name in done else counted.get(name, 0))
        done.discard(name)

    for event in events:
        if event.HasField("activity_task_scheduled_event_attributes"):
            names[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
        elif event.HasField("activity_task_started_event_attributes"):
            start = event.activity_task_started_event_attributes
            begun(names.get(start.scheduled_event_id, ""), start.attempt)
        elif event.HasField("activity_task_completed_event_attributes"):
            done.add(names.get(event.activity_task_completed_event_attributes.scheduled_event_id, ""))
    for activity in pending:
        begun(activity.activity_type.name, activity.attempt)
    return counted
