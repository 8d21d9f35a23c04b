"""Cancel many running processes at once."""

from collections.abc import Callable
from dataclasses import dataclass

from temporalio.client import Client

from commerce.database import Database
from commerce.messages.runs import BulkCancel, CancellableStatus, Cancelled, NotCancelled, Run
from starter.operate.actions import cancel
from starter.operate.bulk import act_on_all
from starter.operate.process_list import EVERYTHING, Narrowing, build_query, fetch_page
from starter.operate.process_status import to_run

MAX_CANCELS = 1_000  # at once
PAGE = 500


@dataclass(frozen=True)
class Selection:
    """Running processes. They must be narrowed by type or in another way: nobody cancels everything by mistake."""

    status: CancellableStatus = "running"
    kind: str | None = None
    only: Narrowing = EVERYTHING

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing but a status."""
        return self.kind is None and self.only == EVERYTHING


async def find(client: Client, selection: Selection, limit: int) -> BulkCancel:
    """Return the selected processes, at most `limit`. Raises BadInput naming fields, Unreachable."""
    also = selection.only.conditions()
    query = build_query(selection.status, selection.kind, limit, max_limit=MAX_CANCELS, also=also)
    found: list[Run] = []
    token = None
    while True:
        executions, token = await fetch_page(client, query, PAGE, token)
        found += map(to_run, executions)
        if token is None or len(found) > limit:
            return BulkCancel(dry_run=True, workflows=found[:limit], more=len(found) > limit)


async def cancel_found(
    client: Client,
    database: Database,
    found: BulkCancel,
    *,
    reason: str,
    actor: str = "",
    progress: Callable[[int], None] = lambda _: None,
) -> BulkCancel:
    """Request the cancellation of the processes that were found, each as `cancel` does, without waiting for their ends.

    Raises Unreachable and DatabaseUnavailable; it is safe to find and cancel again then.
    """
    outcomes = await act_on_all(
        found.workflows,
        lambda process_id: cancel(client, database, process_id, reason=reason, actor=actor),
        progress,
    )
    done = {process: outcome for process, outcome in outcomes.items() if isinstance(outcome, str)}
    refused = {process: outcome for process, outcome in outcomes.items() if not isinstance(outcome, str)}
    return found.model_copy(
        update={
            "dry_run": False,
            "cancelled": [Cancelled(transaction_id=process, run_id=run) for process, run in done.items()],
            "refused": [
                NotCancelled(transaction_id=process, code=type(error).__name__, error=str(error))
                for process, error in refused.items()
            ],
        }
    )
