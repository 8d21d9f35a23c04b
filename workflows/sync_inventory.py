"""Stock is brought to what the warehouse has, page by page; what is oversold by it is told to admins."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import to_failure
    from activities.stock_sync import StockSyncActivities
    from commerce.errors import WarehouseIncomplete
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress
    from commerce.messages.stock_sync import SkuPage, StockSynced, SyncInventory, SyncState
    from workflows.engine.alerts import alert_admins
    from workflows.engine.cancellation import STOPPED
    from workflows.engine.job import Job

FEW = 4  # SKUs: of fewer than these the warehouse may lack any number


@workflow.defn(name="sync-inventory")
class SyncInventoryWorkflow:
    """A sync that was cut off is simply run again: it writes only what differs."""

    def __init__(self) -> None:
        self._job = Job(StockSyncActivities.sync_page, alert="inventory-sync-failure")
        self._counts = StockSynced()

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell how many SKUs are compared."""
        return self._job.progress

    @workflow.run
    async def run(self, request: SyncInventory) -> StockSynced:
        """Compare every SKU with the warehouse and write what differs."""
        async with self._job as job:
            await job.begin(request.resume.run if request.resume else None)
            try:
                await self._sync(request)
            except STOPPED:  # what is oversold by now is no difference to the next sync
                await self._tell_oversold()
                raise
            await self._tell_oversold()
            if self._counts.seen >= FEW and 2 * self._counts.skipped >= self._counts.seen:
                raise to_failure(WarehouseIncomplete(self._counts.skipped, self._counts.seen))
        return self._counts

    async def _sync(self, request: SyncInventory) -> None:
        state, job = request.resume, self._job
        self._counts, after = (state.counts, state.after) if state else (StockSynced(), "")
        while True:
            page = await job.batch(
                StockSyncActivities.sync_page, SkuPage(after=after, limit=request.page, batch=request.batch)
            )
            self._counts = self._counts.plus(page)
            job.tell(self._counts)
            if page.next is None:
                return
            after = page.next
            if job.is_long():
                resume = SyncState(run=job.run, after=after, counts=self._counts)
                workflow.continue_as_new(request.model_copy(update={"resume": resume}))

    async def _tell_oversold(self) -> None:
        if not self._counts.oversold:
            return
        alert = Alert(
            kind="oversold",
            key=f"oversold/{workflow.info().workflow_id}/{self._job.run.generation}",
            severity="medium",
            message=f"The warehouse has less than is reserved for orders at {self._counts.oversold} levels",
            job_name="sync-inventory",
        )
        await alert_admins(alert)
