"""A process with one step that reads the database. See docs/tutorial.md."""

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.products import ProductActivities
    from commerce.messages.base import Nothing
    from commerce.messages.progress import Progress
    from commerce.messages.tutorial import CountProducts, ProductCount
    from workflows.engine.saga import Saga

PLAN = (ProductActivities.count,)


@workflow.defn(name="product-count")
class ProductCountWorkflow:
    """Can run under any id, any number of times."""

    def __init__(self) -> None:
        self._saga = Saga(PLAN)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return whether the products are counted."""
        return self._saga.progress

    @workflow.run
    async def run(self, _request: CountProducts) -> ProductCount:
        """Count the products."""
        async with self._saga as saga:
            return await saga.step(ProductActivities.count, Nothing())
