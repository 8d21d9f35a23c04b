"""Steps that bring the shop's stock to what the warehouse has."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity

from commerce import ledger, stock_sync
from commerce.database import Database
from commerce.errors import WarehouseIncomplete
from commerce.integrations.warehouse import OnHand, Warehouse
from commerce.ledger import Entry
from commerce.messages.steps import Call
from commerce.messages.stock_sync import SkuPage, SyncedPage

# None: whoever comes later takes the page over at once, and the one before writes no more (see `hold`).
LEASE = timedelta(0)
FEW = 4  # SKUs: of fewer than these the warehouse may lack any number


class StockSyncActivities:
    """Ask the warehouse, and write what differs."""

    def __init__(self, database: Database, warehouse: Warehouse) -> None:
        self._database = database
        self._warehouse = warehouse

    @activity.defn(name="sync-stock-page")
    async def sync_page(self, call: Call[SkuPage]) -> SyncedPage:
        """Set the stock of one page of SKUs to what the warehouse has, a few levels at a time."""
        async with self._database.transaction() as tx:
            entry = await ledger.start(tx, call, LEASE)
            skus = await stock_sync.next_skus(tx, call.input)
        if entry.result is not None:
            return SyncedPage.model_validate(entry.result)
        synced = await self._sync(skus, call, entry)
        async with self._database.transaction() as tx:
            await ledger.finish(tx, call.key, synced)
        return synced

    async def _sync(self, skus: Sequence[str], call: Call[SkuPage], entry: Entry) -> SyncedPage:
        if not skus:
            return SyncedPage()
        page, reference = call.input, str(call.key)
        told = await self._warehouse.levels(skus)
        missing = _missing(skus, told)
        async with self._database.transaction() as tx:
            differences = await stock_sync.compare(tx, told.levels)
        for start in range(0, len(differences.levels), page.batch):
            async with self._database.transaction() as tx:
                await stock_sync.hold(tx, call.key, entry.lease)
                await stock_sync.write(tx, differences.levels[start : start + page.batch], reference)
        async with self._database.transaction() as tx:
            changed, oversold = await stock_sync.count(tx, skus, reference)
        return SyncedPage(
            seen=len(skus),
            changed=changed,
            skipped=missing,
            levels=len(told.levels),
            unknown_locations=differences.unknown_locations,
            oversold=oversold,
            next=skus[-1] if len(skus) == page.limit else None,
        )


def _missing(skus: Sequence[str], told: OnHand) -> int:
    """Count the SKUs that the warehouse lacks; raises WarehouseIncomplete when it is half of them or more."""
    missing = len(set(skus) - {level.sku for level in told.levels})
    if len(skus) >= FEW and 2 * missing >= len(skus):
        raise WarehouseIncomplete(missing, len(skus))
    return missing
