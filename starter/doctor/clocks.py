"""How far a server's clock is from this machine's."""

from datetime import datetime, timedelta

from starter.doctor.findings import CheckResult, failed, ok, warning

NOTICED, TOO_FAR = timedelta(seconds=2), timedelta(seconds=30)
CURE = "Set both clocks by NTP: `timedatectl set-ntp true` on the machine that is wrong"


def skewed(theirs: datetime, before: datetime, after: datetime, whose: str) -> CheckResult:
    """Judge a server's time that was taken between two times of ours: only what lies outside of them is skew."""
    skew = max(theirs - after, before - theirs, timedelta())
    if skew < NOTICED:
        return ok("as this machine's")
    found = f"{whose}'s is {skew.total_seconds():.1f} s {'ahead of' if theirs > after else 'behind'} this machine's"
    return failed(found, CURE) if skew >= TOO_FAR else warning(found, CURE)
