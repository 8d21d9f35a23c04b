"""Compare a server's clock with this machine's."""

from datetime import datetime, timedelta

from starter.doctor.findings import CheckResult, failed, ok, warning

WARNING_SKEW, MAX_SKEW = timedelta(seconds=2), timedelta(seconds=30)
ADVICE = "Synchronize both clocks by NTP: run `timedatectl set-ntp true` on the machine that is wrong"


def compare_clocks(server_time: datetime, before: datetime, after: datetime, server: str) -> CheckResult:
    """Judge a server's time, read between the times `before` and `after` of our clock: only the excess is skew."""
    skew = max(server_time - after, before - server_time, timedelta())
    if skew < WARNING_SKEW:
        return ok("same time as this machine")
    direction = "ahead of" if server_time > after else "behind"
    found = f"the clock of {server} is {skew.total_seconds():.1f} s {direction} this machine's"
    return failed(found, ADVICE) if skew >= MAX_SKEW else warning(found, ADVICE)
