"""A worker that was deployed with a plain bug in its process: `python -m tests.system.buggy_worker`."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    import worker
    from commerce.messages.orders import OrderProcessing, OrderRef, OrderResult
    from commerce.messages.progress import Progress
    from workflows.order_processing import OrderProcessingWorkflow


@workflow.defn(name="order-processing")
class BuggyProcess(OrderProcessingWorkflow):
    """Does not get beyond its first line."""

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        return super().progress()

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        return await super().run(request)

    async def _fulfill(self, order: OrderRef, unless_held: bool) -> OrderResult:
        raise ValueError("a plain bug")


if __name__ == "__main__":
    worker.WORKFLOWS = (BuggyProcess,)
    worker.main()
