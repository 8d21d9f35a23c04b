"""Carts that nobody has touched for days are deleted, batch after batch."""

from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.carts import CartActivities
    from commerce.messages.carts import CartsExpired, CleanUpCarts, CleanUpState, Expiry
    from commerce.messages.progress import Progress
    from workflows.engine.job import Job


@workflow.defn(name="cleanup-expired-carts")
class CleanUpExpiredCartsWorkflow:
    """Expired is what had no activity for `days` days before the time this was to run (C1)."""

    def __init__(self) -> None:
        self._job = Job(CartActivities.expire)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell how many carts are gone."""
        return self._job.progress

    @workflow.run
    async def run(self, request: CleanUpCarts) -> CartsExpired:
        """Delete every expired cart that can be deleted."""
        state = request.resume
        counts, after = (state.counts, state.after) if state else (CartsExpired(), None)
        async with self._job as job:
            run = await job.begin(state.run if state else None)
            before = run.nominal - timedelta(days=request.days)
            while True:
                batch = await job.batch(CartActivities.expire, Expiry(before=before, after=after, limit=request.batch))
                counts, after = counts.plus(batch), batch.next
                job.tell(counts)
                if after is None:
                    return counts
                if job.is_long():
                    resume = CleanUpState(run=job.run, after=after, counts=counts)
                    workflow.continue_as_new(request.model_copy(update={"resume": resume}))
