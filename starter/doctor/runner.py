"""Run checks concurrently, each with a time limit, and skip those that depend on a failed one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from commerce.database import Database
from commerce.errors import CommerceError
from commerce.settings import PREFIX, Settings
from starter.connection.encryption import Encryption
from starter.doctor.findings import FAILED, OK, CheckResult, Finding, failed

T = TypeVar("T")

CHECK_SECONDS = 6.0  # time limit of a check, one second more than the timeout of a connection
ADVICE = {
    "Database": "Check the load of the server in COMMERCE_DATABASE_URL and the permissions of its user",
    "Temporal": "Check the load of the server in TEMPORAL_ADDRESS and the permissions of TEMPORAL_API_KEY",
}
OTHER_ADVICE = "Run the doctor again; if this persists, check the log of the server"


@dataclass(repr=False, eq=False)
class CheckContext:
    """What checks share. The last four fields are set by checks, and may be used only by checks that need those.

    `now` is this machine's clock. `cleanup` runs when all checks are done.
    """

    environment: Mapping[str, str]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    cleanup: AsyncExitStack = field(default_factory=AsyncExitStack)
    _queries: dict[object, asyncio.Future[Any]] = field(default_factory=dict)

    settings: Settings = field(init=False)
    database: Database = field(init=False)
    client: Client = field(init=False)
    encryption: Encryption = field(init=False)

    async def query_once(self, query: Callable[["CheckContext"], Coroutine[Any, Any, T]]) -> T:
        """Return the result of a query that several checks share; a check that times out does not cancel it."""
        if query not in self._queries:
            self._queries[query] = asyncio.create_task(query(self))
        answer: T = await asyncio.shield(self._queries[query])
        return answer

    def variable(self, name: str) -> str:
        """Return the environment variable that a setting is read from: COMMERCE_…_FILE if it is set."""
        variable = f"{PREFIX}{name}"
        return f"{variable}_FILE" if self.environment.get(f"{variable}_FILE") else variable


@dataclass(frozen=True)
class Check:
    """A check: its group and name in the report, its function, the checks it needs, its exit code if it fails."""

    group: str
    name: str
    run: Callable[[CheckContext], Awaitable[CheckResult]]
    needs: tuple["Check", ...] = ()
    code: int = FAILED


async def run_checks(context: CheckContext, checks: Sequence[Check]) -> list[Finding]:
    """Run all checks concurrently and return their findings in the same order. Raises nothing.

    A check must come after those it needs.
    """
    tasks: dict[Check, asyncio.Task[CheckResult]] = {}
    async with context.cleanup:
        for check in checks:
            tasks[check] = asyncio.create_task(_run(check, context, tasks))
        return [_finding(check, await tasks[check]) for check in checks]


async def _run(check: Check, context: CheckContext, tasks: Mapping[Check, asyncio.Task[CheckResult]]) -> CheckResult:
    for needed in check.needs:
        result = await tasks[needed]
        if result.state == "skipped":
            return result  # names the check that failed
        if result.state == "failed":
            return CheckResult("skipped", f"needs {needed.group}: {needed.name}")
    advice = ADVICE.get(check.group, OTHER_ADVICE)
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check.run(context)
    except TimeoutError:
        return failed(f"no answer within {CHECK_SECONDS:g} s", advice)
    except RPCError as error:
        return failed(f"Temporal returned an error: {error.message}", advice)
    except CommerceError as error:
        return failed(str(error), advice)
    except Exception as error:  # noqa: BLE001 - an unexpected error must not hide the findings of other checks
        return failed(f"the check failed ({type(error).__name__})", advice)


def _finding(check: Check, result: CheckResult) -> Finding:
    return Finding(
        group=check.group,
        check=check.name,
        state=result.state,
        found=result.found,
        advice=result.advice,
        code=check.code if result.state == "failed" else OK,
    )
