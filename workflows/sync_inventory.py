"""Stock is brought to what the warehouse has, page by page; what is oversold by it is told to admins."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.stock_sync import StockSyncActivities
    from commerce.messages.notifications import Alert
    from commerce.messages.progress import Progress
    from commerce.messages.stock_sync import SkuPage, StockSynced, SyncInventory, SyncState
    from workflows.job import Job
    from workflows.telling import alert_admins


@workflow.defn(name="sync-inventory")
class SyncInventoryWorkflow:
    """A sync that was cut off is simply run again: it writes only what differs."""

    def __init__(self) -> None:
        self._job = Job(StockSyncActivities.sync_page, alert="inventory-sync-failure")

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell how many SKUs are compared."""
        return self._job.progress

    @workflow.run
    async def run(self, request: SyncInventory) -> StockSynced:
        """Compare every SKU with the warehouse and write what differs."""
        state = request.resume
        counts, after = (state.counts, state.after) if state else (StockSynced(), "")
        async with self._job as job:
            await job.begin(state.run if state else None)
            while True:
                page = await job.batch(
                    StockSyncActivities.sync_page, SkuPage(after=after, limit=request.page, batch=request.batch)
                )
                counts = counts.plus(page)
                job.tell(counts)
                if page.next is None:
                    break
                after = page.next
                if job.is_long():
                    resume = SyncState(run=job.run, after=after, counts=counts)
                    workflow.continue_as_new(request.model_copy(update={"resume": resume}))
        if counts.oversold:
            await alert_admins(_oversold(counts, job.run.generation))
        return counts


def _oversold(counts: StockSynced, generation: str) -> Alert:
    return Alert(
        kind="oversold",
        key=f"oversold/{workflow.info().workflow_id}/{generation}",
        severity="medium",
        message=f"The warehouse has less than is reserved for orders at {counts.oversold} levels",
        job_name="sync-inventory",
    )
