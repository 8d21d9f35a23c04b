"""A workflow with an incompatible change, to test that replaying recorded histories detects it."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.fulfillment import FulfillmentActivities
    from activities.inventory import InventoryActivities
    from activities.orders import OrderActivities
    from commerce.messages.orders import CompletedOrder, OrderChange, OrderProcessing, OrderResult, ValidOrder
    from commerce.messages.progress import Progress
    from workflows.engine.policies import FINAL_STEP
    from workflows.order_processing import OrderProcessingWorkflow


@workflow.defn(name="order-processing")
class WithoutInventoryCheck(OrderProcessingWorkflow):
    """Order processing without the step `check-inventory`."""

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        return super().progress()

    @workflow.signal(name="order-changed")
    def order_changed(self, change: OrderChange) -> None:
        super().order_changed(change)

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        return await super().run(request)

    async def _process(self, _valid: ValidOrder) -> CompletedOrder:
        order = self._order
        await self._saga.step(InventoryActivities.reserve, order, undo=InventoryActivities.release)
        await self._saga.step(FulfillmentActivities.create, order, undo=FulfillmentActivities.cancel)
        return await self._saga.step(OrderActivities.complete, order, policy=FINAL_STEP, final=True)
