"""Job that sets stock to the warehouse's levels, page by page, and alerts the admins about oversold levels."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import to_failure
    from activities.stock_sync import StockSyncActivities
    from commerce.errors import WarehouseIncomplete
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress
    from commerce.messages.stock_sync import SkuPage, StockSynced, SyncInventory, SyncState
    from workflows.engine.alerts import alert_admins
    from workflows.engine.cancellation import CANCEL_OR_FAILURE
    from workflows.engine.job import Job

FEW_SKUS = 4  # below this number the warehouse may lack any number of SKUs


@workflow.defn(name="sync-inventory")
class SyncInventoryWorkflow:
    """Run an interrupted sync again: it writes only levels that still differ."""

    def __init__(self) -> None:
        self._job = Job(StockSyncActivities.sync_page, alert="inventory-sync-failure")
        self._counts = StockSynced()

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return how many SKUs have been compared."""
        return self._job.progress

    @workflow.run
    async def run(self, request: SyncInventory) -> StockSynced:
        """Compare every SKU with the warehouse and write the levels that differ."""
        async with self._job as job:
            run = await job.begin(request.resume)
            try:
                await self._sync(request, request.resume or SyncState(run=run))
            except CANCEL_OR_FAILURE:  # the next sync would not see these levels as different, so alert now
                await self._alert_oversold()
                raise
            await self._alert_oversold()
            if self._counts.seen >= FEW_SKUS and 2 * self._counts.skipped >= self._counts.seen:
                raise to_failure(WarehouseIncomplete(self._counts.skipped, self._counts.seen))
        return self._counts

    async def _sync(self, request: SyncInventory, start: SyncState) -> None:
        self._counts = start.counts

        async def sync_page(state: SyncState) -> tuple[SyncState, bool]:
            skus = SkuPage(after=state.after, limit=request.page, batch=request.batch)
            page = await self._job.batch(StockSyncActivities.sync_page, skus)
            self._counts = state.counts.plus(page)
            after = page.next or state.after
            return state.model_copy(update={"counts": self._counts, "after": after}), page.next is None

        await self._job.run_batches(request, start, sync_page)

    async def _alert_oversold(self) -> None:
        if not self._counts.oversold:
            return
        alert = Alert(
            kind="oversold",
            key=f"oversold/{workflow.info().workflow_id}/{self._job.generation}",
            severity="medium",
            message=f"The warehouse has less stock than is reserved for orders at {self._counts.oversold} levels",
            job_name="sync-inventory",
        )
        await alert_admins(alert)
