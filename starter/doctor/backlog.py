"""How the shop stands: what waits too long, and what nobody will do unless a person looks."""

from datetime import timedelta

from commerce import backlog
from commerce.backlog import Backlog
from starter.doctor.examination import Installation
from starter.doctor.findings import CheckResult, ok, warning
from starter.operate.process_list import count_stuck_runs

LATE_ORDER, LATE_EVENT = 3_600, 60  # seconds


async def pending(installation: Installation) -> CheckResult:
    """No paid order waits for long."""
    found = await installation.once(_look)
    if found.oldest_pending_order_age > LATE_ORDER:
        said = f"{found.pending_orders:g} wait, the oldest for {_shown(found.oldest_pending_order_age)}"
        return warning(said, "commerce start process-pending-orders")
    return ok(f"{found.pending_orders:g} wait")


async def held(installation: Installation) -> CheckResult:
    """No order is on hold."""
    if count := (await installation.once(_look)).held_orders:
        return warning(
            f"{count:g} wait for a person",
            "commerce runs failed, commerce runs list --status cancelled; then commerce runs retry ID --reason …",
        )
    return ok("none")


async def events(installation: Installation) -> CheckResult:
    """Events are given on soon."""
    found = await installation.once(_look)
    if found.outbox_lag > LATE_EVENT:
        said = f"{found.outbox_events:g} not given on, the oldest for {_shown(found.outbox_lag)}"
        return warning(said, "A worker does that (commerce worker); its log says `event postponed` and why")
    return ok(f"{found.outbox_events:g} not given on yet")


async def mails(installation: Installation) -> CheckResult:
    """Mails and alerts are sent."""
    found = await installation.once(_look)
    late, lost = found.queued_notifications, found.failed_notifications
    if late or lost:
        said = f"{late:g} not sent for ten minutes, {lost:g} failed for good since yesterday"
        return warning(said, "Mend what Outside says of mail; then docs/operations.md, NotificationsUnsent")
    return ok("all sent")


async def stuck(installation: Installation) -> CheckResult:
    """No run stumbles over its own code."""
    assert installation.client
    count = await count_stuck_runs(installation.client)
    return warning(str(count), "commerce runs stuck; then commerce runs show ID") if count else ok("none")


async def _look(installation: Installation) -> Backlog:
    assert installation.database
    async with installation.database.transaction() as tx:
        return await backlog.measure(tx)


def _shown(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
