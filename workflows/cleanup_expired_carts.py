"""Job that deletes carts without recent activity, batch after batch."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.carts import CartActivities
    from commerce.messages.carts import CartsExpired, CleanUpCarts, CleanUpState, ExpiryRequest
    from commerce.messages.progress import Progress
    from workflows.engine.job import Job


@workflow.defn(name="cleanup-expired-carts")
class CleanUpExpiredCartsWorkflow:
    """A cart has expired if it had no activity for `days` days before the run's nominal time (C1)."""

    def __init__(self) -> None:
        self._job = Job(CartActivities.expire)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return how many carts have been deleted."""
        return self._job.progress

    @workflow.run
    async def run(self, request: CleanUpCarts) -> CartsExpired:
        """Delete every expired cart that can be deleted."""
        async with self._job as job:
            run = await job.begin(request.resume)
            before = run.nominal - timedelta(days=request.days)

            async def delete(state: CleanUpState) -> tuple[CleanUpState, bool]:
                expiry = ExpiryRequest(before=before, after=state.after, limit=request.batch)
                deleted = await job.batch(CartActivities.expire, expiry)
                counts = state.counts.plus(deleted)
                return state.model_copy(update={"counts": counts, "after": deleted.next}), deleted.next is None

            return (await job.run_batches(request, request.resume or CleanUpState(run=run), delete)).counts
