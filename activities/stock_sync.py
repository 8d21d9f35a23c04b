"""Activities that set the shop's stock to what the warehouse has."""

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from commerce import stock_sync
from commerce.database import Database
from commerce.external_steps import Attempt, ExternalRead
from commerce.integrations.warehouse import Warehouse
from commerce.messages.steps import Call
from commerce.messages.stock_sync import SkuPage, SyncedPage


class StockSyncActivities:
    """Query the warehouse and write the differences."""

    def __init__(self, database: Database, warehouse: Warehouse) -> None:
        self._page = _SyncPage(database, warehouse)

    @activity.defn(name="sync-stock-page")
    async def sync_page(self, call: Call[SkuPage]) -> SyncedPage:
        """Set the stock of one page of SKUs to what the warehouse has, a few levels per transaction."""
        return await self._page.do(call)


class _SyncPage(ExternalRead[SkuPage, list[str], SyncedPage]):
    def __init__(self, database: Database, warehouse: Warehouse) -> None:
        super().__init__(database, result=SyncedPage)
        self._warehouse = warehouse

    async def read(self, tx: AsyncSession, page: SkuPage) -> list[str]:
        """Return the SKUs of the page."""
        return await stock_sync.list_skus(tx, page)

    async def query(self, attempt: Attempt[SkuPage, list[str]]) -> SyncedPage:
        """Compare the page with the warehouse and write what differs."""
        skus, page, key = attempt.plan, attempt.call.input, attempt.call.key
        if not skus:
            return SyncedPage()
        on_hand = await self._warehouse.levels(skus)
        async with self._database.transaction() as tx:
            differences = await stock_sync.compare(tx, on_hand.levels)
        for start in range(0, len(differences.levels), page.batch):
            async with attempt.transaction() as tx:
                await stock_sync.write_levels(tx, differences.levels[start : start + page.batch], str(key))
        async with self._database.transaction() as tx:
            changed, oversold = await stock_sync.count_changes(tx, skus, key)
        return SyncedPage(
            seen=len(skus),
            changed=changed,
            skipped=len(set(skus) - {level.sku for level in on_hand.levels}),
            levels=len(on_hand.levels),
            unknown_locations=differences.unknown_locations,
            oversold=oversold,
            next=skus[-1] if len(skus) == page.limit else None,
        )
