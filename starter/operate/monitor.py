"""What operators ask about processes: how one stands, which there are, and how many."""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from datetime import timedelta
from hashlib import sha256
from typing import Any, get_args
from urllib.parse import quote

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

from activities.boundary.failures import describe
from commerce.errors import BadInput, ProcessNotFound
from commerce.messages.base import FieldError
from commerce.messages.progress import ProcessState, Progress
from commerce.messages.runs import Page, Run, RunProgress, RunStatus, Status, StepStatus, Wanted
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.run_history import count_attempts, get_latest_run, recent_events, status_of, stuck_reason
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from workflows.engine.search_attributes import FAILED_STEP, SAGA_STATE

WORKER_ANSWERS = timedelta(seconds=2)
MAX_LISTED = 500
AT_ONCE = 20  # questions to Temporal
DIGEST = 8  # bytes
LOOKS = 10  # at lists of Temporal's, for one page: where most runs have newer ones, the page is short
STATES: Mapping[str, ProcessState] = {state: state for state in get_args(ProcessState)}
OUR_RUNS = f"TaskQueue = '{TASK_QUEUE}'"
COUNTED: Mapping[str, RunStatus] = {
    "Running": "running",
    "Completed": "completed",
    "Failed": "failed",
    "Canceled": "cancelled",
    "Terminated": "terminated",
    "TimedOut": "timed_out",
}
FILTERS: Mapping[Wanted | None, str] = {
    None: "ExecutionStatus != 'ContinuedAsNew'",
    "running": "ExecutionStatus = 'Running'",
    "completed": "ExecutionStatus = 'Completed'",
    "cancelled": "ExecutionStatus = 'Canceled'",
    "failed": "ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated')",
    "stuck": "ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL",
}


async def get_status(client: Client, process_id: str, *, ui: str | None = None) -> Status:
    """Return how the latest run of a process stands; `ui`: where Temporal's UI is.

    Raises ProcessNotFound, Unreachable.
    """
    found = await get_latest_run(client, process_id)
    handle = client.get_workflow_handle(found.id, run_id=found.run_id)
    with unreachable_if_refused(f"tell of {process_id}"):
        (told, missing), (result, error), events = await asyncio.gather(
            _ask_worker(handle), _ending(handle, found), recent_events(client, found)
        )
    return Status(
        **_run(found, told and told.state).model_dump(),
        progress=await _progress(client, found, told, count_attempts(events, _pending(found))) if told else None,
        progress_missing=missing,
        result=result,
        error=error or await stuck_reason(client, found, events),
        ui_url=ui and _page_in(ui, found),
    )


async def list_processes(
    client: Client,
    get_status: Wanted | None = None,
    kind: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
) -> Page:
    """Return a page of processes, each by its latest run; a new one may be missing for a second.

    `failed`: also timed out and terminated; `stuck`: open, but their own code fails. `limit`: 1 to 500.
    Raises BadInput naming what does not fit, Unreachable.
    """
    query = _query(get_status, kind, limit)
    token = _token(query, cursor) if cursor else None
    runs: list[Run] = []
    for _ in range(LOOKS):
        executions, token = await _look(client, query, limit - len(runs), token)
        runs += await _latest_of(client, executions)
        if token is None or len(runs) == limit:
            break
    return Page(workflows=runs, next_cursor=_cursor(query, token) if token else None)


async def count_runs(client: Client) -> Mapping[str, Mapping[RunStatus, int]]:
    """Return how many runs there are, older ones of a process too, by type and status. Raises Unreachable."""

    async def count(kind: str) -> Mapping[RunStatus, int]:
        query = f"{OUR_RUNS} AND {FILTERS[None]} AND WorkflowType = '{kind}' GROUP BY ExecutionStatus"
        groups = (await client.count_workflows(query, rpc_timeout=RPC_TIMEOUT)).groups
        return {COUNTED[str(group.group_values[0])]: group.count for group in groups}

    with unreachable_if_refused("count runs"):
        return dict(zip(PROCESS_TYPES, await asyncio.gather(*map(count, PROCESS_TYPES)), strict=True))


async def count_stuck_runs(client: Client) -> int:
    """Return how many open runs there are whose own code fails. Raises Unreachable."""
    with unreachable_if_refused("count stuck runs"):
        return (
            await client.count_workflows(f"{OUR_RUNS} AND {FILTERS['count_stuck_runs']}", rpc_timeout=RPC_TIMEOUT)
        ).count


async def _ask_worker(handle: WorkflowHandle[Any, Any]) -> tuple[Progress | None, str | None]:
    """Return what the run itself says, or why it says nothing."""
    try:
        return await handle.query("progress", result_type=Progress, rpc_timeout=WORKER_ANSWERS), None
    except WorkflowQueryFailedError as failure:
        return None, str(failure)
    except RPCError as error:
        if error.status in (RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.CANCELLED):
            return None, f"no worker answers within {WORKER_ANSWERS.seconds} s"
        return None, error.message


async def _ending(handle: WorkflowHandle[Any, Any], found: WorkflowExecution) -> tuple[Any, str | None]:
    """Return the result of a run, or why it has failed; neither while it is open."""
    if status_of(found) == "running":
        return None, None
    try:
        return await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT), None
    except WorkflowFailureError as failure:
        return None, _why(failure)


def _why(failure: WorkflowFailureError) -> str:
    """Return what stopped a run, and what of it could not be undone."""
    top = failure.cause
    if isinstance(top, ApplicationError) and top.type == "CompensationFailed":
        return f"{top.message} after {describe(failure)}"
    return describe(failure)


async def _progress(
    client: Client, found: WorkflowExecutionDescription, told: Progress, tries: Mapping[str, int]
) -> RunProgress:
    over = status_of(found) != "running"
    for activity in _pending(found):
        step = told.step(activity.activity_type.name)
        step.state = "running" if step.state == "pending" else step.state  # an undo is no step of the plan
        if activity.HasField("last_failure"):
            step.error = describe(await client.data_converter.decode_failure(activity.last_failure))
    for step in told.steps:
        if over and step.state == "running":
            step.state, step.error = "failed", step.error or "it was cut off"
    steps = [StepStatus(**step.model_dump(), attempts=tries.get(step.name, 0)) for step in told.steps]
    return RunProgress(state=_state(found, told.state) or told.state, steps=steps)


def _pending(found: WorkflowExecutionDescription) -> Sequence[Any]:
    return found.raw_description.pending_activities


def _state(found: WorkflowExecution, told: str | None) -> ProcessState | None:
    """Return how a process stands by what it said last; it says nothing of being cut off."""
    get_status = status_of(found)
    if get_status != "running" and told in (None, "running", "compensating"):
        return "completed" if get_status == "completed" else "failed"
    return STATES.get(told or "")


def _run(found: WorkflowExecution, told: str | None = None) -> Run:
    return Run(
        transaction_id=found.id,
        run_id=found.run_id,
        type=found.workflow_type,
        get_status=status_of(found),
        state=_state(found, told or found.typed_search_attributes.get(SAGA_STATE)),
        started_at=found.start_time,
        ended_at=found.close_time,
        failed_step=found.typed_search_attributes.get(FAILED_STEP),
    )


def _page_in(ui: str, found: WorkflowExecution) -> str:
    where = "/".join(quote(part, safe="") for part in (found.namespace, "workflows", found.id, found.run_id))
    return f"{ui.rstrip('/')}/namespaces/{where}/history"


def _query(get_status: Wanted | None, kind: str | None, limit: int) -> str:
    problems = []
    if get_status not in FILTERS:
        problems.append(FieldError(field="status", message=f"must be one of {', '.join(get_args(Wanted))}"))
    if kind is not None and kind not in PROCESS_TYPES:
        problems.append(FieldError(field="type", message=f"must be one of {', '.join(PROCESS_TYPES)}"))
    if not 1 <= limit <= MAX_LISTED:
        problems.append(FieldError(field="limit", message=f"must be 1 to {MAX_LISTED}"))
    if problems:
        raise BadInput(problems)
    return " AND ".join([OUR_RUNS, FILTERS[get_status], *([f"WorkflowType = '{kind}'"] if kind else [])])


def _cursor(query: str, token: bytes) -> str:
    """Return Temporal's token with a digest: one that is not its own makes it try for seconds, and then say nothing."""
    return urlsafe_b64encode(sha256(query.encode() + token).digest()[:DIGEST] + token).decode()


def _token(query: str, cursor: str) -> bytes:
    try:
        token = urlsafe_b64decode(cursor)[DIGEST:]
    except ValueError:
        token = b""
    if cursor != _cursor(query, token):
        raise BadInput([FieldError(field="cursor", message="must be what an earlier page of this list gave")])
    return token


async def _look(
    client: Client, query: str, limit: int, token: bytes | None
) -> tuple[Sequence[WorkflowExecution], bytes | None]:
    """Return one list of Temporal's, the latest ended first, and where the next one goes on."""
    pages = client.list_workflows(query, page_size=limit, next_page_token=token, rpc_timeout=RPC_TIMEOUT)
    with unreachable_if_refused("list runs"):
        await pages.fetch_next_page()
    return pages.current_page or (), pages.next_page_token


async def _latest_of(client: Client, executions: Sequence[WorkflowExecution]) -> list[Run]:
    """Return those of these runs that no newer run of the same process has taken the place of."""
    free = asyncio.Semaphore(AT_ONCE)

    async def is_latest(run: WorkflowExecution) -> bool:
        if status_of(run) == "running":
            return True
        async with free:
            try:
                return (await get_latest_run(client, run.id)).run_id == run.run_id
            except ProcessNotFound:  # thrown away meanwhile
                return False

    kept = await asyncio.gather(*map(is_latest, executions))
    return [_run(run) for run, is_kept in zip(executions, kept, strict=True) if is_kept]
