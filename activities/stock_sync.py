"""Steps that bring the shop's stock to what the warehouse has."""

from collections.abc import Sequence
from datetime import timedelta

from temporalio import activity

from commerce import ledger, stock_sync
from commerce.database import Database
from commerce.integrations.warehouse import Warehouse
from commerce.ledger import Entry
from commerce.messages.steps import Call
from commerce.messages.stock_sync import SkuPage, SyncedPage

# None: whoever comes later takes the page over at once, and the one before writes no more (see `hold`).
LEASE = timedelta(0)


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
            if await ledger.finish(tx, call.key, synced):
                return synced
            return SyncedPage.model_validate((await ledger.start(tx, call, LEASE)).result)  # another attempt was first

    async def _sync(self, skus: Sequence[str], call: Call[SkuPage], entry: Entry) -> SyncedPage:
        if not skus:
            return SyncedPage()
        page, reference = call.input, str(call.key)
        told = await self._warehouse.levels(skus)
        async with self._database.transaction() as tx:
            differences = await stock_sync.compare(tx, told.levels)
        for start in range(0, len(differences.levels), page.batch):
            async with self._database.transaction() as tx:
                await stock_sync.hold(tx, call.key, entry.lease)
                await stock_sync.write(tx, differences.levels[start : start + page.batch], reference)
        async with self._database.transaction() as tx:
            changed, oversold = await stock_sync.count(tx, skus, call.key)
        return SyncedPage(
            seen=len(skus),
            changed=changed,
            skipped=len(set(skus) - {level.sku for level in told.levels}),
            levels=len(told.levels),
            unknown_locations=differences.unknown_locations,
            oversold=oversold,
            next=skus[-1] if len(skus) == page.limit else None,
        )
