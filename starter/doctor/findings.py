"""The result of each check, and the exit code that follows from all of them."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

from pydantic import Field

from commerce.messages.base import Message

State = Literal["ok", "warning", "failed", "skipped"]
OK, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3


class CheckResult(NamedTuple):
    """The result of a check: its state, what was found, and what to do about it (empty if nothing)."""

    state: State
    found: str
    advice: str = ""


class Finding(Message):
    """One line of the doctor's report. It contains no secrets and no personal data."""

    group: str
    check: str
    state: State
    found: str
    advice: str = Field(serialization_alias="cure")  # the name in JSON, which programs rely on
    code: int
    """The exit code for this finding: 0 all well, 1 failed, 2 a wrong setting, 3 a server that is unreachable."""


def ok(found: str) -> CheckResult:
    """Return the result that all is well."""
    return CheckResult("ok", found)


def warning(found: str, advice: str) -> CheckResult:
    """Return the result that the shop works, but not as well or as long as it should."""
    return CheckResult("warning", found, advice)


def failed(found: str, advice: str) -> CheckResult:
    """Return the result that something does not work."""
    return CheckResult("failed", found, advice)


def exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of what to fix first: settings, then unreachable servers, then the rest."""
    codes = {finding.code for finding in findings}
    return next((code for code in (USAGE, UNREACHABLE, FAILED) if code in codes), OK)
