"""Retry many processes at once: those whose latest run failed, or was cancelled, in the same way."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from temporalio.client import Client, WorkflowFailureError
from temporalio.service import RPCError, RPCStatusCode

from activities.boundary.failures import run_failure_type
from commerce.database import Database
from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.runs import BulkRetry, NotRetried, Retried, RetryableStatus, Run
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.actions import retry
from starter.operate.bulk import act_on_all
from starter.operate.process_list import MAX_CONCURRENT_CALLS, NAME, build_query, fetch_page, only_latest

MAX_RETRIES = 1_000  # at once
MAX_EXAMINED = 20_000  # runs that Temporal lists, superseded ones included
PAGE = 500


@dataclass(frozen=True)
class Selection:
    """Processes by their latest run; `since` and `until` (exclusive) limit when it ended.

    `failed` includes timed out and terminated runs. Only failed ones have a type of failure.
    """

    status: RetryableStatus = "failed"
    kind: str | None = None
    failed_with: str | None = None
    failed_step: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing but the default status."""
        return self == Selection()


async def find(client: Client, selection: Selection, limit: int) -> BulkRetry:
    """Return the selected processes, last ended first, at most `limit`. Raises BadInput naming fields, Unreachable."""
    query = _query(selection, limit)
    found: list[Run] = []
    examined, token = 0, None
    while True:
        executions, token = await fetch_page(client, query, PAGE, token)
        runs = await only_latest(client, executions)
        found += await _failed_with(client, runs, selection.failed_with) if selection.failed_with else runs
        examined += len(executions)
        if token is None or len(found) > limit or examined >= MAX_EXAMINED:
            return BulkRetry(dry_run=True, workflows=found[:limit], more=len(found) > limit or token is not None)


async def retry_found(
    client: Client,
    database: Database,
    found: BulkRetry,
    *,
    reason: str,
    actor: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> BulkRetry:
    """Retry the processes that were found, each as `retry` does; calls `progress` with the number of those done.

    One that cannot be retried does not stop the others. Raises Unreachable and DatabaseUnavailable, after the retries
    that are under way; it is safe to find and retry again then.
    """
    outcomes = await act_on_all(
        found.workflows,
        lambda process_id: retry(client, database, process_id, reason=reason, actor=actor),
        progress,
    )
    done = {process: outcome for process, outcome in outcomes.items() if isinstance(outcome, str)}
    refused = {process: outcome for process, outcome in outcomes.items() if not isinstance(outcome, str)}
    return found.model_copy(
        update={
            "dry_run": False,
            "retried": [Retried(transaction_id=process, run_id=run) for process, run in done.items()],
            "refused": [
                NotRetried(transaction_id=process, code=type(error).__name__, error=str(error))
                for process, error in refused.items()
            ],
        }
    )


def _query(selection: Selection, limit: int) -> str:
    problems = [
        FieldError(field=field, message="must be a name of letters, digits, - and _")
        for field in ("failed_with", "failed_step")
        if (name := getattr(selection, field)) is not None and not NAME.fullmatch(name)
    ]
    if selection.failed_with and selection.status != "failed":
        problems.append(FieldError(field="failed_with", message="only failed processes have a type of failure"))
    if selection.since and selection.until and selection.since >= selection.until:
        problems.append(FieldError(field="until", message="must be later than since"))
    if problems:
        raise BadInput(problems)
    conditions = []
    if selection.failed_with:  # runs of older versions, and those whose input could not be read, do not name it
        conditions.append(f"(FailureType = '{selection.failed_with}' OR FailureType IS NULL)")
    if selection.failed_step:
        conditions.append(f"FailedStep = '{selection.failed_step}'")
    if selection.since:
        conditions.append(f"CloseTime >= '{selection.since.isoformat()}'")
    if selection.until:
        conditions.append(f"CloseTime < '{selection.until.isoformat()}'")
    return build_query(selection.status, selection.kind, limit, max_limit=MAX_RETRIES, also=conditions)


async def _failed_with(client: Client, runs: Sequence[Run], failure_type: str) -> list[Run]:
    """Return the runs that failed with this type, and complete those that do not name theirs."""
    free = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def complete(run: Run) -> Run:
        if run.failure_type is not None or run.status != "failed":
            return run
        async with free:
            return run.model_copy(update={"failure_type": await _read_failure_type(client, run)})

    return [run for run in await asyncio.gather(*map(complete, runs)) if run.failure_type == failure_type]


async def _read_failure_type(client: Client, run: Run) -> str | None:
    """Return the type of the failure that Temporal stores with a run that has failed; None if it is deleted."""
    handle = client.get_workflow_handle(run.transaction_id, run_id=run.run_id)
    with unreachable_if_refused(f"return the error of {run.transaction_id}"):
        try:
            await handle.result(follow_runs=False, rpc_timeout=RPC_TIMEOUT)
        except WorkflowFailureError as failure:
            return run_failure_type(failure.cause)
        except RPCError as error:
            if error.status != RPCStatusCode.NOT_FOUND:
                raise
    return None
