"""A worker of a newer build that adds a step to order-processing: `python -m tests.system.newer_worker`."""

from temporalio import activity, workflow

with workflow.unsafe.imports_passed_through():
    import worker
    from commerce.messages.base import Nothing
    from commerce.messages.orders import (
        CompletedOrder,
        OrderChange,
        OrderProcessing,
        OrderRef,
        OrderResult,
        ValidOrder,
    )
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Call
    from workflows.order_processing import OrderProcessingWorkflow


class GiftActivities:
    """The activity of the added step."""

    @activity.defn(name="wrap-gift")
    async def wrap(self, _call: Call[OrderRef]) -> Nothing:
        """Return at once: only the step itself matters to the tests."""
        return Nothing()


@workflow.defn(name="order-processing")
class NewerOrderProcessingWorkflow(OrderProcessingWorkflow):
    """Wraps the goods before the first step after the validation, in runs that have not passed this point yet."""

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        return super().progress()

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        return await super().run(request)

    @workflow.signal(name="order-changed")
    def order_changed(self, change: OrderChange) -> None:
        super().order_changed(change)

    async def _process(self, valid: ValidOrder) -> CompletedOrder:
        if workflow.patched("wrap-gifts"):
            await self._saga.step(GiftActivities.wrap, self._order)
        return await super()._process(valid)


def main() -> None:
    others = (each for each in worker.WORKFLOWS if each is not OrderProcessingWorkflow)
    worker.WORKFLOWS = (NewerOrderProcessingWorkflow, *others)
    activities_of = worker.activities_of
    worker.activities_of = lambda *nouns: activities_of(*nouns, GiftActivities())
    worker.main()


if __name__ == "__main__":
    main()
