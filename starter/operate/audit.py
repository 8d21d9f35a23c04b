"""The audit of a running shop: report only violations that no running process might still repair."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping

from temporalio.client import Client

from commerce import audit as rules
from commerce.audit import Finding
from commerce.database import Database
from starter.connection.rpc import find_latest_run, unreachable_if_refused

MAX_CONCURRENT_CALLS = 20

EndedRuns = dict[str, str | None]  # business key -> id of its latest run, which has ended; None: it never had a run


async def audit(database: Database, client: Client) -> list[Finding]:
    """Return all permanent violations, by rule. Processes may start, run and end during the audit.

    A suspected violation counts only if the process's latest run had ended before the violation was found and is
    still the latest run afterwards. Raises DatabaseUnavailable, Unreachable.
    """
    async with database.transaction() as tx:
        suspects = await rules.load_suspects(tx)
    before = await _ended_runs(client, suspects)
    async with database.transaction() as tx:
        findings = await rules.audit(tx, ended=before)
    after = await _ended_runs(client, {finding.business_key for finding in findings if finding.business_key})
    return _confirmed(findings, before, after)


def _confirmed(findings: Collection[Finding], before: EndedRuns, after: EndedRuns) -> list[Finding]:
    """Drop the findings whose process has started again, and subtract them from the count of their rule."""

    def is_confirmed(finding: Finding) -> bool:
        key = finding.business_key
        return key is None or (key in after and after[key] == before[key])

    dropped = Counter(finding.rule for finding in findings if not is_confirmed(finding))
    return [
        finding.model_copy(update={"count": finding.count - dropped[finding.rule]})
        for finding in findings
        if is_confirmed(finding)
    ]


async def _ended_runs(client: Client, keys: Collection[str]) -> EndedRuns:
    """Return the latest runs of these processes, without those that are running. Keys are process ids."""
    free = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    async def fetch(key: str) -> Mapping[str, str | None]:
        async with free:
            return await _latest_if_ended(client, key)

    answers = await asyncio.gather(*(fetch(key) for key in keys))
    return {key: run for answer in answers for key, run in answer.items()}


async def _latest_if_ended(client: Client, key: str) -> Mapping[str, str | None]:
    with unreachable_if_refused(f"describe {key}"):
        run = await find_latest_run(client, key)
    if run is None:
        return {key: None}
    return {key: run.run_id} if run.close_time else {}
