"""Old records are thrown away, kind by kind and batch by batch."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.upkeep import UpkeepActivities
    from commerce.messages.progress import Progress
    from commerce.messages.upkeep import Prune, Upkeep, UpkeepResult, UpkeepState
    from workflows.engine.job import Job

PLAN = (UpkeepActivities.prune_ledger, UpkeepActivities.prune_events, UpkeepActivities.prune_notifications)


@workflow.defn(name="upkeep")
class UpkeepWorkflow:
    """One kind after the other; each tells how old is old (COMMERCE_KEEP_…)."""

    def __init__(self) -> None:
        self._job = Job(*PLAN)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell which kinds of records are done."""
        return self._job.progress

    @workflow.run
    async def run(self, request: Upkeep) -> UpkeepResult:
        """Throw away what is older than its retention."""
        state = request.resume
        counts, kind, after = (state.counts, state.kind, state.after) if state else (UpkeepResult(), 0, "")
        async with self._job as job:
            run = await job.begin(state.run if state else None)
            while kind < len(PLAN):
                batch = await job.batch(PLAN[kind], Prune(now=run.nominal, limit=request.batch, after=after))
                counts = counts.plus(batch)
                kind, after = (kind, batch.next) if batch.next is not None else (kind + 1, "")
                job.tell(counts)
                if job.is_long():
                    resume = UpkeepState(run=job.run, kind=kind, after=after, counts=counts)
                    workflow.continue_as_new(request.model_copy(update={"resume": resume}))
        return counts
