"""Activities that delete old records."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from commerce import ledger, upkeep
from commerce.database import Database
from commerce.messages.steps import Call
from commerce.messages.upkeep import Prune, Pruned
from commerce.settings import Settings

PENDING = timedelta(days=2)  # a registration waits for an hour
Prunes = Callable[[AsyncSession, datetime, int], Awaitable[int]]


@dataclass(frozen=True)
class Retention:
    """How long records are kept."""

    ledger: timedelta
    events: timedelta  # counted from their publication
    notifications: timedelta
    intake: timedelta = timedelta(days=14)  # webhooks of shops
    invoices: timedelta = timedelta(0)  # of forgotten customers, counted from their orders

    @classmethod
    def of(cls, settings: Settings) -> "Retention":
        """Return how long the settings keep each kind of record."""
        return cls(
            ledger=timedelta(days=settings.keep_ledger_days),
            events=timedelta(days=settings.keep_events_days),
            notifications=timedelta(days=settings.keep_notifications_days),
            intake=timedelta(days=settings.keep_intake_days),
            invoices=timedelta(days=settings.keep_invoices_days),
        )


class UpkeepActivities:
    """Delete records at the end of their retention."""

    def __init__(self, database: Database, retention: Retention) -> None:
        self._database = database
        self._retention = retention

    @activity.defn(name="prune-ledger")
    async def prune_ledger(self, call: Call[Prune]) -> Pruned:
        """Delete the ledger entries of processes that ended before the retention period and left nothing to undo."""
        batch, before = call.input, call.input.now - self._retention.ledger
        running = await _running_since(before)
        async with self._database.transaction() as tx:
            keys, more = await upkeep.list_old_keys(tx, before, batch.after, batch.limit)

            async def prune() -> Pruned:
                pruned = await upkeep.prune_keys(tx, set(keys) - running, before)
                return Pruned(seen=len(keys), changed=pruned, skipped=len(keys) - pruned, next=more)

            return await ledger.once(tx, call, Pruned, prune)

    @activity.defn(name="prune-events")
    async def prune_events(self, call: Call[Prune]) -> Pruned:
        """Delete events that were published before the retention period."""
        return await self._prune(call, (upkeep.prune_events, self._retention.events))

    @activity.defn(name="prune-notifications")
    async def prune_notifications(self, call: Call[Prune]) -> Pruned:
        """Delete notifications from before the retention period that were sent, and alerts that were marked failed.

        Webhooks of shops are messages as well: those from before their own retention period are deleted, too. So are
        the billing names and addresses of forgotten customers, of orders from before theirs, and registrations that
        were terminated while they waited.
        """
        return await self._prune(
            call,
            (upkeep.prune_notifications, self._retention.notifications),
            (upkeep.prune_intake, self._retention.intake),
            (upkeep.erase_invoices, self._retention.invoices),
            (upkeep.prune_pending, PENDING),
        )

    async def _prune(self, call: Call[Prune], *kinds: tuple[Prunes, timedelta]) -> Pruned:
        now, limit = call.input.now, call.input.limit
        async with self._database.transaction() as tx:

            async def once() -> Pruned:
                counts = [await prune(tx, now - retention, limit) for prune, retention in kinds]
                pruned = sum(counts)
                return Pruned(seen=pruned, changed=pruned, next="" if limit in counts else None)

            return await ledger.once(tx, call, Pruned, once)


async def _running_since(before: datetime) -> set[str]:
    """Return the business keys of the processes that started before this time and are still running; they are few."""
    query = f'ExecutionStatus = "Running" AND StartTime < "{before.isoformat()}"'
    return {run.id async for run in activity.client().list_workflows(query)}
