"""The verdicts of audit and doctor: made when somebody asks for them, and kept by this API until the next one."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import NamedTuple

import structlog

from commerce.errors import CommerceError

log = structlog.stdlib.get_logger("commerce.console")


class Remark(NamedTuple):
    """What a check has found: its state (failed, warning), what it is about, the finding, and what to do about it."""

    state: str
    subject: str
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Verdict:
    """The last result of a check. `ended_at` is None while it runs; `error`: why it could not be made."""

    started_at: datetime
    by: str
    ended_at: datetime | None = None
    remarks: Sequence[Remark] = ()
    error: str = ""


class Checks:
    """Runs each check at most once at a time, in the background."""

    def __init__(self) -> None:
        self.verdicts: dict[str, Verdict] = {}
        self._running: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, by: str, check: Callable[[], Awaitable[Sequence[Remark]]]) -> bool:
        """Start a check, unless it runs already; return whether it was started."""
        if name in self._running:
            return False
        self.verdicts[name] = Verdict(datetime.now(UTC), by)
        self._running[name] = asyncio.create_task(self._run(name, check))
        return True

    async def _run(self, name: str, check: Callable[[], Awaitable[Sequence[Remark]]]) -> None:
        error, remarks = "", tuple[Remark, ...]()
        try:
            remarks = tuple(await check())
        except CommerceError as failure:
            error = str(failure)
        except Exception as failure:  # whatever it is, the page must not say for ever that the check runs
            log.exception("a check failed", check=name)
            error = f"The check itself failed ({type(failure).__name__}); the log of the API has the details."
        finally:
            self.verdicts[name] = replace(self.verdicts[name], ended_at=datetime.now(UTC), remarks=remarks, error=error)
            del self._running[name]
