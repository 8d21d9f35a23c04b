"""Runs checks side by side, each within its time, and leaves out those that need what is away."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from temporalio.client import Client
from temporalio.service import RPCError

from commerce.database import Database
from commerce.errors import CommerceError, SettingsError
from commerce.settings import PREFIX, Settings
from starter.connection.encryption import Encryption
from starter.doctor.findings import FAILED, OK, CheckResult, Finding, failed

T = TypeVar("T")

BOUND = 6.0  # seconds a check may take: one more than it takes to give a server up
LOST = {
    "Database": "See whether the server of COMMERCE_DATABASE_URL is overloaded, and what its user may do",
    "Temporal": "See whether the server of TEMPORAL_ADDRESS is overloaded, and what our TEMPORAL_API_KEY may do",
}


@dataclass
class Installation:
    """What is examined; checks leave here what others need: settings, database, client, keys.

    `now` is this machine's clock.
    """

    environment: Mapping[str, str]
    now: Callable[[], datetime] = lambda: datetime.now(UTC)

    settings: Settings | None = None
    database: Database | None = None
    client: Client | None = None
    encryption: Encryption | None = None
    _asked: dict[object, asyncio.Future[Any]] = field(default_factory=dict)

    async def once(self, question: Callable[["Installation"], Coroutine[Any, Any, T]]) -> T:
        """Return the answer to what several checks want to know: it is asked once, and outlives who waits for it."""
        if question not in self._asked:
            self._asked[question] = asyncio.create_task(question(self))
        answer: T = await asyncio.shield(self._asked[question])
        return answer

    def named(self, name: str) -> str:
        """Return the variable that brings a setting here: the one of its file, if that is used."""
        variable = f"{PREFIX}{name}"
        return f"{variable}_FILE" if self.environment.get(f"{variable}_FILE") else variable


@dataclass(frozen=True)
class Check:
    """One line of the screen; `look` may rely on the checks in `needs`, which stand before it.

    `code` is the exit code when it fails.
    """

    group: str
    name: str
    look: Callable[[Installation], Awaitable[CheckResult]]
    needs: tuple["Check", ...] = ()
    code: int = FAILED


async def examine(installation: Installation, checks: Sequence[Check]) -> list[Finding]:
    """Look at everything at once and return what was found, in the order of the checks. Raises nothing."""
    found: dict[Check, asyncio.Task[CheckResult]] = {}
    async with _closing(installation):
        for check in checks:
            found[check] = asyncio.create_task(_look(check, installation, found))
        return [_finding(check, await found[check]) for check in checks]


async def _look(
    check: Check, installation: Installation, found: Mapping[Check, asyncio.Task[CheckResult]]
) -> CheckResult:
    for needed in check.needs:
        outcome = await found[needed]
        if outcome.state == "not looked at":
            return outcome  # which tells what is at the root of it
        if outcome.state == "failed":
            return CheckResult("not looked at", f"needs {needed.group}: {needed.name}")
    cure = LOST.get(check.group, "Try again; if it stays, look at the log of the server that was asked")
    try:
        async with asyncio.timeout(BOUND):
            return await check.look(installation)
    except TimeoutError:
        return failed(f"no answer within {BOUND:g} s", cure)
    except RPCError as error:
        return failed(f"Temporal answers: {error.message}", cure)
    except (CommerceError, SettingsError) as error:
        return failed(str(error), cure)
    except Exception as error:  # noqa: BLE001 - one that nobody has thought of must not hide what the others find
        return failed(f"cannot be looked at ({type(error).__name__})", cure)


def _finding(check: Check, outcome: CheckResult) -> Finding:
    code = check.code if outcome.state == "failed" else OK
    return Finding(group=check.group, check=check.name, code=code, **outcome._asdict())


@asynccontextmanager
async def _closing(installation: Installation) -> AsyncIterator[None]:
    try:
        yield
    finally:
        if installation.database:
            await installation.database.close()
