"""Lists and counts of processes, from Temporal's visibility store, which lags behind by up to a second."""

import asyncio
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import get_args

from temporalio.client import Client, WorkflowExecution

from commerce import operator_actions
from commerce.database import Database
from commerce.errors import BadInput, ProcessNotFound
from commerce.messages.base import FieldError
from commerce.messages.orders import order_process_id
from commerce.messages.runs import Page, Run, RunStatus, StatusFilter
from starter.connection.rpc import RPC_TIMEOUT, unreachable_if_refused
from starter.operate.process_status import to_run
from starter.operate.run_history import STATUSES, get_latest_run, status_of
from starter.processes import PROCESS_TYPES, TASK_QUEUE

MAX_LISTED = 500
MAX_PAGE = 1_000  # runs that Temporal lists at once
MAX_RUNNING_ORDERS = 10_000
MAX_CONCURRENT_CALLS = 20
MAX_FETCHES = 10  # requests to Temporal for one page; if most runs have newer ones, the page is short
CURSOR_DIGEST_BYTES = 8
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,99}")
PROCESS_ID_START = re.compile(r"[A-Za-z0-9._:~@/-]{1,200}")
OUR_RUNS = f"TaskQueue = '{TASK_QUEUE}'"
STATUSES_BY_NAME: Mapping[str, RunStatus] = {  # Temporal's list calls them Running, TimedOut …
    status.name.title().replace("_", ""): ours for status, ours in STATUSES.items()
}
FILTERS: Mapping[StatusFilter | None, str] = {
    None: "ExecutionStatus != 'ContinuedAsNew'",
    "running": "ExecutionStatus = 'Running'",
    "completed": "ExecutionStatus = 'Completed'",
    "cancelled": "ExecutionStatus = 'Canceled'",
    "failed": "ExecutionStatus IN ('Failed', 'TimedOut', 'Terminated')",
    "waiting": "ExecutionStatus = 'Running' AND WaitingFor IS NOT NULL",
    "stuck": "ExecutionStatus = 'Running' AND TemporalReportedProblems IS NOT NULL",
}


@dataclass(frozen=True)
class Narrowing:
    """Which of the processes of a list are wanted; several conditions select those that meet all of them.

    `outcome`: as a completed process has it. `search`: how the process id starts, or the id of an order or customer.
    `since` and `until` (exclusive) limit when a process ended, or when it started if it runs.
    `not_waiting_for`: without the processes that wait at this step, which must be one of ours.
    """

    outcome: str | None = None
    search: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    not_waiting_for: str | None = None

    def conditions(self) -> list[str]:
        """Return the conditions of Temporal's query. Raises BadInput naming the wrong fields."""
        problems = [
            FieldError(field=field, message=message)
            for field, pattern, message in (
                ("outcome", NAME, "must be a name of letters, digits, - and _"),
                ("search", PROCESS_ID_START, "must have 1 to 200 of the characters A-Z a-z 0-9 . _ : ~ @ / -"),
            )
            if (value := getattr(self, field)) is not None and not pattern.fullmatch(value)
        ]
        if self.since and self.until and self.since >= self.until:
            problems.append(FieldError(field="until", message="must be later than since"))
        if problems:
            raise BadInput(problems)
        found = []
        if self.outcome:
            found.append(f"Outcome = '{self.outcome}'")
        if self.search:
            ids = " OR ".join(f"{name} = '{self.search}'" for name in ("OrderId", "CustomerId"))
            found.append(f"(WorkflowId STARTS_WITH '{self.search}' OR {ids})")
        if self.not_waiting_for:
            found.append(f"WaitingFor != '{self.not_waiting_for}'")
        for sign, time in ((">=", self.since), ("<", self.until)):
            if time:
                running = f"ExecutionStatus = 'Running' AND StartTime {sign} '{time.isoformat()}'"
                found.append(f"(CloseTime {sign} '{time.isoformat()}' OR {running})")
        return found


EVERYTHING = Narrowing()


async def list_processes(
    client: Client,
    status: StatusFilter | None = None,
    kind: str | None = None,
    limit: int = 50,
    cursor: str | None = None,
    *,
    only: Narrowing = EVERYTHING,
    database: Database | None = None,
) -> Page:
    """Return a page of processes, each by its latest run.

    The status `failed` includes timed out and terminated; `stuck` means running, but with workflow code that fails;
    `waiting` means running, and waiting for an answer from outside. `limit` is 1 to 500. With a `database`, failed
    processes that an operator has dismissed are left out. Raises BadInput naming the wrong fields, Unreachable,
    DatabaseUnavailable.
    """
    query = build_query(status, kind, limit, also=only.conditions())
    token = _decode_cursor(query, cursor) if cursor else None
    runs: list[Run] = []
    for _ in range(MAX_FETCHES):
        executions, token = await fetch_page(client, query, limit - len(runs), token)
        found = await only_latest(client, executions)
        runs += await _not_dismissed(database, found) if database and status == "failed" else found
        if token is None or len(runs) == limit:
            break
    return Page(workflows=runs, next_cursor=_encode_cursor(query, token) if token else None)


async def count_runs(client: Client) -> Mapping[str, Mapping[RunStatus, int]]:
    """Return the number of runs by process type and status, superseded runs included. Raises Unreachable."""

    async def count(kind: str) -> Mapping[RunStatus, int]:
        query = f"{OUR_RUNS} AND {FILTERS[None]} AND WorkflowType = '{kind}' GROUP BY ExecutionStatus"
        groups = (await client.count_workflows(query, rpc_timeout=RPC_TIMEOUT)).groups
        return {STATUSES_BY_NAME[str(group.group_values[0])]: group.count for group in groups}

    with unreachable_if_refused("count runs"):
        return dict(zip(PROCESS_TYPES, await asyncio.gather(*map(count, PROCESS_TYPES)), strict=True))


async def list_running_orders(client: Client, limit: int = MAX_RUNNING_ORDERS) -> list[str]:
    """Return the ids of orders whose process is running, at most `limit`. Raises Unreachable."""
    query = build_query("running", "order-processing", MAX_LISTED)
    runs = client.list_workflows(query, page_size=MAX_PAGE, limit=limit, rpc_timeout=RPC_TIMEOUT)
    with unreachable_if_refused("list runs"):
        return [run.id.removeprefix(order_process_id("")) async for run in runs]


async def count_stuck_runs(client: Client) -> int:
    """Return the number of running runs whose workflow code fails. Raises Unreachable."""
    with unreachable_if_refused("count stuck runs"):
        return (await client.count_workflows(f"{OUR_RUNS} AND {FILTERS['stuck']}", rpc_timeout=RPC_TIMEOUT)).count


def build_query(
    status: StatusFilter | None, kind: str | None, limit: int, *, max_limit: int = MAX_LISTED, also: Sequence[str] = ()
) -> str:
    """Return the query of runs with this status and type that meet the further conditions `also`.

    Raises BadInput naming the wrong fields.
    """
    problems = []
    if status not in FILTERS:
        problems.append(FieldError(field="status", message=f"must be one of {', '.join(get_args(StatusFilter))}"))
    if kind is not None and kind not in PROCESS_TYPES:
        problems.append(FieldError(field="type", message=f"must be one of {', '.join(PROCESS_TYPES)}"))
    if not 1 <= limit <= max_limit:
        problems.append(FieldError(field="limit", message=f"must be 1 to {max_limit}"))
    if problems:
        raise BadInput(problems)
    return " AND ".join([OUR_RUNS, FILTERS[status], *([f"WorkflowType = '{kind}'"] if kind else []), *also])


async def _not_dismissed(database: Database, runs: Sequence[Run]) -> list[Run]:
    async with database.transaction() as tx:
        dismissed = await operator_actions.dismissed_runs(tx, [run.transaction_id for run in runs])
    return [run for run in runs if run.run_id not in dismissed]


def _encode_cursor(query: str, token: bytes) -> str:
    """Return Temporal's page token with a digest of query and token.

    The digest lets us refuse a token of another list at once: Temporal retries it for seconds and then returns nothing.
    """
    return urlsafe_b64encode(sha256(query.encode() + token).digest()[:CURSOR_DIGEST_BYTES] + token).decode()


def _decode_cursor(query: str, cursor: str) -> bytes:
    try:
        token = urlsafe_b64decode(cursor)[CURSOR_DIGEST_BYTES:]
    except ValueError:
        token = b""
    if cursor != _encode_cursor(query, token):
        raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page of this list")])
    return token


async def fetch_page(
    client: Client, query: str, limit: int, token: bytes | None
) -> tuple[Sequence[WorkflowExecution], bytes | None]:
    """Return one page of Temporal's list, latest ended first, and the token of the next page."""
    pages = client.list_workflows(query, page_size=limit, next_page_token=token, rpc_timeout=RPC_TIMEOUT)
    with unreachable_if_refused("list runs"):
        await pages.fetch_next_page()
    return pages.current_page or (), pages.next_page_token


async def only_latest(client: Client, executions: Sequence[WorkflowExecution]) -> list[Run]:
    """Return these runs without those that a newer run of the same process has superseded."""
    free = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def is_latest(run: WorkflowExecution) -> bool:
        if status_of(run) == "running":
            return True
        async with free:
            try:
                return (await get_latest_run(client, run.id)).run_id == run.run_id
            except ProcessNotFound:  # deleted in the meantime
                return False

    latest = await asyncio.gather(*map(is_latest, executions))
    return [to_run(run) for run, is_kept in zip(executions, latest, strict=True) if is_kept]
