"""A worker that was deployed with a bug in its workflow code: `python -m tests.system.buggy_worker`."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import worker
    from commerce.messages.orders import OrderChange, OrderProcessing, OrderResult
    from commerce.messages.progress import Progress
    from workflows.order_processing import OrderProcessingWorkflow


@workflow.defn(name="order-processing")
class BuggyWorkflow(OrderProcessingWorkflow):
    """Raises an error before its first step."""

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        return super().progress()

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        return await super().run(request)

    @workflow.signal(name="order-changed")
    def order_changed(self, change: OrderChange) -> None:
        super().order_changed(change)

    async def _fulfill(self, unless_held: bool) -> OrderResult:
        raise ValueError("a plain bug")


if __name__ == "__main__":
    worker.WORKFLOWS = (BuggyWorkflow,)
    worker.main()
