"""Job that deletes old records, one kind after the other."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.upkeep import UpkeepActivities
    from commerce.messages.progress import Progress
    from commerce.messages.upkeep import Prune, Upkeep, UpkeepResult, UpkeepState
    from workflows.engine.job import Job

KINDS = (UpkeepActivities.prune_ledger, UpkeepActivities.prune_events, UpkeepActivities.prune_notifications)


@workflow.defn(name="upkeep")
class UpkeepWorkflow:
    """Each kind of record has its own retention: the settings COMMERCE_KEEP_…."""

    def __init__(self) -> None:
        self._job = Job(*KINDS)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return which kinds of records are done."""
        return self._job.progress

    @workflow.run
    async def run(self, request: Upkeep) -> UpkeepResult:
        """Delete records older than their retention."""
        async with self._job as job:
            run = await job.begin(request.resume)

            async def prune(state: UpkeepState) -> tuple[UpkeepState, bool]:
                old = Prune(now=run.nominal, limit=request.batch, after=state.after)
                pruned = await job.batch(KINDS[state.kind], old)
                counts = state.counts.plus(pruned)
                if pruned.next is not None:
                    return state.model_copy(update={"counts": counts, "after": pruned.next}), False
                done = state.model_copy(update={"counts": counts, "kind": state.kind + 1, "after": ""})
                return done, done.kind == len(KINDS)

            return (await job.run_batches(request, request.resume or UpkeepState(run=run), prune)).counts
