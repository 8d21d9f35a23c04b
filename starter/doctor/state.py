"""How the shop stands: what waits too long, and what nobody will do unless a person looks."""

from datetime import timedelta

from commerce.checkup import Waiting, waiting
from starter.doctor.examination import Installation
from starter.doctor.findings import Outcome, ok, warning
from starter.monitor import FILTERS, OURS
from starter.schedule_views import ANSWER

LATE_ORDER, LATE_EVENT = 3_600, 60  # seconds


async def pending(installation: Installation) -> Outcome:
    """No paid order waits for long."""
    found = await _waiting(installation)
    if found.oldest_pending_order_age > LATE_ORDER:
        said = f"{found.pending_orders:g} wait, the oldest for {_shown(found.oldest_pending_order_age)}"
        return warning(said, "commerce start process-pending-orders")
    return ok(f"{found.pending_orders:g} wait")


async def held(installation: Installation) -> Outcome:
    """No order is on hold."""
    if count := (await _waiting(installation)).held_orders:
        return warning(f"{count:g} wait for a person", "commerce runs failed; then commerce runs retry ID --reason …")
    return ok("none")


async def events(installation: Installation) -> Outcome:
    """Events are given on soon."""
    found = await _waiting(installation)
    if found.outbox_lag > LATE_EVENT:
        said = f"{found.outbox_events:g} not given on, the oldest for {_shown(found.outbox_lag)}"
        return warning(said, "A worker does that (commerce worker); its log says `event held back` and why")
    return ok(f"{found.outbox_events:g} not given on yet")


async def mails(installation: Installation) -> Outcome:
    """Mails and alerts are sent."""
    found = await _waiting(installation)
    late, lost = found.queued_notifications, found.failed_notifications
    if late or lost:
        said = f"{late:g} not sent for ten minutes, {lost:g} failed for good since yesterday"
        return warning(said, "Mend what Outside says of mail; then commerce runs stuck, commerce runs failed")
    return ok("all sent")


async def stuck(installation: Installation) -> Outcome:
    """No run stumbles over its own code."""
    assert installation.client
    query = f"{OURS} AND {FILTERS['stuck']}"
    count = (await installation.client.count_workflows(query, rpc_timeout=ANSWER)).count
    return warning(str(count), "commerce runs stuck; then commerce runs show ID") if count else ok("none")


async def _waiting(installation: Installation) -> Waiting:
    assert installation.database
    async with installation.database.transaction() as tx:
        return await waiting(tx)


def _shown(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
