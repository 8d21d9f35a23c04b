"""The shop's backlog: work that waits for too long, or until an operator acts."""

from datetime import timedelta

from commerce import backlog
from commerce.backlog import Backlog
from starter.doctor.findings import CheckResult, ok, warning
from starter.doctor.runner import CheckContext
from starter.operate.process_list import count_stuck_runs, list_running_orders

MAX_ORDER_AGE, MAX_EVENT_AGE = 3_600, 60  # seconds


async def check_pending_orders(context: CheckContext) -> CheckResult:
    """Check that no paid order waits for long until its process starts."""
    running = await list_running_orders(context.client)
    async with context.database.transaction() as tx:
        found = await backlog.measure_pending(tx, running)
    processed = f", {found.running} being processed" if found.running else ""
    if found.oldest_age > MAX_ORDER_AGE:
        return warning(
            f"{found.waiting} waiting, the oldest for {_duration(found.oldest_age)}{processed}",
            "Run: commerce start process-pending-orders",
        )
    return ok(f"{found.waiting} waiting{processed}")


async def check_held_orders(context: CheckContext) -> CheckResult:
    """Check that no order is on hold."""
    if count := (await context.query_once(_backlog)).held_orders:
        return warning(
            f"{count:g} on hold until an operator retries them",
            "Run: commerce runs failed; commerce runs list --status cancelled; commerce runs retry ID --reason …",
        )
    return ok("none")


async def check_orders_without_products(context: CheckContext) -> CheckResult:
    """Check that no order waits for a product."""
    if count := (await context.query_once(_backlog)).orders_waiting_for_product:
        return warning(
            f"{count:g} waiting for products",
            "Run: commerce products unlinked; then import the products, or: commerce products link TEXT SKU",
        )
    return ok("none")


async def check_waits(context: CheckContext) -> CheckResult:
    """Check that no step has waited for an answer for more than half of its time."""
    found = await context.query_once(_backlog)
    if found.late_waits:
        return warning(
            f"{found.late_waits:g} of {found.open_waits:g} past half their time: without an answer they are undone",
            "Run: commerce runs list --status waiting; then ask for the answer, or: commerce runs answer ID STEP …",
        )
    return ok(f"{found.open_waits:g} open")


async def check_events(context: CheckContext) -> CheckResult:
    """Check that events are published soon."""
    found = await context.query_once(_backlog)
    if found.outbox_lag > MAX_EVENT_AGE:
        return warning(
            f"{found.outbox_events:g} unpublished, the oldest for {_duration(found.outbox_lag)}",
            "Run: commerce worker; if one is running, look for `event postponed` in its log",
        )
    return ok(f"{found.outbox_events:g} unpublished")


async def check_mails(context: CheckContext) -> CheckResult:
    """Check that mails and alerts are sent."""
    found = await context.query_once(_backlog)
    late, lost = found.queued_notifications, found.failed_notifications
    if late or lost:
        return warning(
            f"{late:g} unsent for over ten minutes, {lost:g} failed permanently since yesterday",
            "Fix the mail server (see Services: mail), then follow docs/operations.md, NotificationsUnsent",
        )
    return ok("all sent")


async def check_stuck_runs(context: CheckContext) -> CheckResult:
    """Check that no run's workflow code fails."""
    count = await count_stuck_runs(context.client)
    return warning(f"{count} stuck", "Run: commerce runs stuck; commerce runs show ID") if count else ok("none")


async def _backlog(context: CheckContext) -> Backlog:
    async with context.database.transaction() as tx:
        return await backlog.measure(tx)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
