"""The audit of a running shop: report only violations that no running process might still repair."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from shlex import quote
from typing import NamedTuple

from temporalio.client import Client, WorkflowExecutionStatus

from commerce import audit as rules
from commerce.audit import Finding, Page
from commerce.audit_pages import STRAYS
from commerce.audit_rules import FINDINGS, RULES
from commerce.database import Database
from commerce.messages.cancellations import CancelOrder, cancel_process_id
from commerce.messages.orders import OrderProcessing, order_process_id
from starter.connection.rpc import find_latest_run, unreachable_if_refused

MAX_CONCURRENT_CALLS = 20
FIRST_PAGE, LARGEST_PAGE = 500, 1_000  # items, orders or customers; the time per order grows with larger pages
PAGE_SECONDS = 5.0  # a page that takes longer than twice this is followed by a smaller one

ORDER_KEY, CANCEL_KEY = order_process_id(""), cancel_process_id("")
INTERRUPTED = (  # what `commerce runs retry` starts again
    WorkflowExecutionStatus.TERMINATED,
    WorkflowExecutionStatus.FAILED,
    WorkflowExecutionStatus.CANCELED,
    WorkflowExecutionStatus.TIMED_OUT,
)


class EndedRun(NamedTuple):
    """The latest run of a process, which has ended."""

    run_id: str
    status: WorkflowExecutionStatus | None


EndedRuns = dict[str, EndedRun | None]  # by business key; None: Temporal knows no run


async def audit(
    database: Database, client: Client, on_progress: Callable[[Mapping[str, int]], None] = lambda _: None
) -> list[Finding]:
    """Return all permanent violations, by rule. Processes may start, run and end during the audit.

    A suspected violation counts only if the process's latest run had ended before the violation was found and is
    still the latest run afterwards. `on_progress` gets the number of checked items, orders and customers, after every
    page. Raises DatabaseUnavailable, Unreachable.
    """
    findings: list[Finding] = []
    checked: Counter[str] = Counter()
    for kind in RULES:
        async for page in _pages(database, kind):
            findings = _joined([findings, await _audit_page(database, client, page)])
            if kind != STRAYS:
                checked[kind] += len(page.keys)
                on_progress(checked)
    return findings


async def _pages(database: Database, kind: str) -> AsyncIterator[Page]:
    """Yield all pages of a kind; their size changes so that the caller needs some seconds for each."""
    size, after = FIRST_PAGE, None
    while True:
        async with database.transaction() as tx:
            page = await rules.load_page(tx, kind, after, size)
        if not page.keys:
            return
        started = time.monotonic()
        yield page
        seconds, after = time.monotonic() - started, page.keys[-1]
        if seconds < PAGE_SECONDS:
            size = min(2 * size, LARGEST_PAGE)
        elif seconds > 2 * PAGE_SECONDS:
            size = max(size // 2, 1)


async def _audit_page(database: Database, client: Client, page: Page) -> list[Finding]:
    async with database.transaction() as tx:
        suspects = await rules.load_suspects(tx, page)
    before = await _ended_runs(client, suspects)
    async with database.transaction() as tx:
        findings = await rules.audit(tx, page, ended=before)
    after = await _ended_runs(client, {finding.business_key for finding in findings if finding.business_key})
    return _confirmed(findings, before, after)


def _joined(pages: Iterable[Sequence[Finding]]) -> list[Finding]:
    """Join the findings of pages: of each rule the first ones, with the count of all."""
    found: dict[str, list[Finding]] = {}
    counts: Counter[str] = Counter()
    for page in pages:
        counts.update({finding.rule: finding.count for finding in page})
        for finding in page:
            found.setdefault(finding.rule, []).append(finding)
    return [
        finding.model_copy(update={"count": counts[rule]})
        for rule in FINDINGS
        for finding in found.get(rule, [])[: rules.MAX_FINDINGS]
    ]


def _confirmed(findings: Collection[Finding], before: EndedRuns, after: EndedRuns) -> list[Finding]:
    """Drop the findings whose process has started again, and subtract them from the count of their rule."""

    def is_confirmed(finding: Finding) -> bool:
        key = finding.business_key
        return key is None or (key in after and after[key] == before[key])

    dropped = Counter(finding.rule for finding in findings if not is_confirmed(finding))
    return [
        finding.model_copy(update={"count": finding.count - dropped[finding.rule], "cure": _cure(finding, after)})
        for finding in findings
        if is_confirmed(finding)
    ]


def _cure(finding: Finding, ended: EndedRuns) -> str | None:
    """Return the command that lets the process of a finding undo what an interrupted run left."""
    if (key := finding.business_key) is None:
        return None
    if run := ended[key]:
        return f"commerce runs retry {quote(key)} --reason …" if run.status in INTERRUPTED else None
    if key.startswith(CANCEL_KEY):
        cancellation = CancelOrder(order_id=key.removeprefix(CANCEL_KEY))
        return f"commerce start cancel-order --input {quote(cancellation.model_dump_json(include={'order_id'}))}"
    if not key.startswith(ORDER_KEY):
        return None
    order = OrderProcessing(order_id=key.removeprefix(ORDER_KEY))
    return f"commerce start order-processing --input {quote(order.model_dump_json(include={'order_id'}))}"


async def _ended_runs(client: Client, keys: Collection[str]) -> EndedRuns:
    """Return the latest runs of these processes, without those that are running. Keys are process ids."""
    free = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def fetch(key: str) -> EndedRuns:
        async with free:
            return await _latest_if_ended(client, key)

    answers = await asyncio.gather(*(fetch(key) for key in keys))
    return {key: run for answer in answers for key, run in answer.items()}


async def _latest_if_ended(client: Client, key: str) -> EndedRuns:
    with unreachable_if_refused(f"describe {key}"):
        run = await find_latest_run(client, key)
    if run is None:
        return {key: None}
    return {key: EndedRun(run.run_id, run.status)} if run.close_time else {}
