"""What the doctor finds, one line per check, and the exit code that follows from it."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from commerce.messages.base import Message

State = Literal["ok", "warning", "failed", "not looked at"]
OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3


class CheckResult(NamedTuple):
    """How a check went: its state, what was found, what mends it (empty where nothing is to be mended)."""

    state: State
    found: str
    cure: str = ""


class Finding(Message):
    """One line of the doctor's screen; nothing secret and nothing personal is in it."""

    group: str
    check: str
    state: State
    found: str
    cure: str
    code: int
    """The exit code that this finding asks for: 0, 1 something is wrong, 2 a setting is, 3 a server is away."""


def ok(found: str) -> CheckResult:
    """All is well."""
    return CheckResult("ok", found)


def warning(found: str, cure: str) -> CheckResult:
    """The shop works, but not as it should, or not for long."""
    return CheckResult("warning", found, cure)


def failed(found: str, cure: str) -> CheckResult:
    """Something does not work."""
    return CheckResult("failed", found, cure)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the code of what is to be mended first: settings, then servers, then the rest."""
    codes = {finding.code for finding in findings}
    return next((code for code in (USAGE, UNREACHABLE, FAILED) if code in codes), OK)
