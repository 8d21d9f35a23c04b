"""The audit of a shop at work: what breaks a rule although no process runs that might put it right."""

import asyncio
from collections import Counter
from collections.abc import Collection, Mapping

from temporalio.client import Client

from commerce import audit as rules
from commerce.audit import Finding
from commerce.database import Database
from starter.connection.rpc import find_latest_run, unreachable_if_refused

AT_ONCE = 20  # questions to Temporal

Ended = dict[str, str | None]  # by business key the latest run, which has ended; None: there never was one


async def audit(database: Database, client: Client) -> list[Finding]:
    """Return what is broken for good, by rule; processes may run, begin and end meanwhile.

    A suspicion counts only if the process's latest run had ended before it was found and still is the latest
    afterwards. Raises DatabaseUnavailable, Unreachable.
    """
    async with database.transaction() as tx:
        suspects = await rules.suspects(tx)
    before = await _ended(client, suspects)
    async with database.transaction() as tx:
        findings = await rules.audit(tx, ended=before)
    after = await _ended(client, {finding.business_key for finding in findings if finding.business_key})
    return _confirmed(findings, before, after)


def _confirmed(findings: Collection[Finding], before: Ended, after: Ended) -> list[Finding]:
    def stands(finding: Finding) -> bool:
        key = finding.business_key
        return key is None or (key in after and after[key] == before[key])

    dropped = Counter(finding.rule for finding in findings if not stands(finding))
    return [
        finding.model_copy(update={"count": finding.count - dropped[finding.rule]})
        for finding in findings
        if stands(finding)
    ]


async def _ended(client: Client, keys: Collection[str]) -> Ended:
    """Ask about processes by their business keys, which are their ids; those that run are left out."""
    free = asyncio.Semaphore(AT_ONCE)

    async def ask(key: str) -> Mapping[str, str | None]:
        async with free:
            return await _latest_if_ended(client, key)

    answers = await asyncio.gather(*(ask(key) for key in keys))
    return {key: run for answer in answers for key, run in answer.items()}


async def _latest_if_ended(client: Client, key: str) -> Mapping[str, str | None]:
    with unreachable_if_refused(f"say whether {key} runs"):
        run = await find_latest_run(client, key)
    if run is None:
        return {key: None}
    return {key: run.run_id} if run.close_time else {}
