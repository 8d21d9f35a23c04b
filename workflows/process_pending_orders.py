"""Job that processes paid orders nobody has started, in order of arrival, a bounded number at a time."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import Priority
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, failure_type
    from activities.orders import OrderActivities
    from commerce.errors import OrderOnHold
    from commerce.messages.jobs import ItemFailure
    from commerce.messages.notifications import Alert
    from commerce.messages.orders import UNLESS_HELD, OrderProcessing, OrderResult, order_process_id
    from commerce.messages.pending_orders import (
        PendingIds,
        PendingOrders,
        PendingOrdersResult,
        PendingPageRequest,
        PendingState,
    )
    from commerce.messages.progress import Progress
    from workflows.engine.alerts import alert_admins
    from workflows.engine.cancellation import gather
    from workflows.engine.job import Job
    from workflows.order_processing import OrderProcessingWorkflow

Child = workflow.ChildWorkflowHandle[OrderProcessingWorkflow, OrderResult]
MAX_WAIT = timedelta(minutes=2)  # for one order, because others wait behind it; the order's own process continues
AFTER_OTHERS = Priority(priority_key=4)  # somebody may wait for an order that was started otherwise; 3 is usual
# The orders' processes continue when this job is cancelled or terminated.
INDEPENDENT: dict[str, Any] = {
    "parent_close_policy": workflow.ParentClosePolicy.ABANDON,
    "cancellation_type": workflow.ChildWorkflowCancellationType.ABANDON,
}


@workflow.defn(name="process-pending-orders")
class ProcessPendingOrdersWorkflow:
    """Each order gets the same process, under the same id, as if a caller had started it (V10)."""

    def __init__(self) -> None:
        self._job = Job(OrderActivities.list_pending)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return how many orders have been processed."""
        return self._job.progress

    @workflow.run
    async def run(self, request: PendingOrders) -> PendingOrdersResult:
        """Process every order that is paid, open, not on hold, and waits neither for stock nor for a product."""
        async with self._job as job:
            run = await job.begin(request.resume)

            async def process_page(state: PendingState) -> tuple[PendingState, bool]:
                page = await job.batch(
                    OrderActivities.list_pending, PendingPageRequest(after=state.after, limit=request.page)
                )
                slots = asyncio.Semaphore(request.at_once)
                counts = state.counts
                if page.waiting_for_product:
                    counts = counts.plus(PendingOrdersResult(waiting_for_product=page.waiting_for_product))
                    await _alert_of_missing_products(page)
                for processed in await gather(*(process(order_id, slots) for order_id in page.order_ids)):
                    counts = counts.plus(processed)
                return state.model_copy(update={"counts": counts, "after": page.next}), page.next is None

            return (await job.run_batches(request, request.resume or PendingState(run=run), process_page)).counts


async def process(order_id: str, slots: asyncio.Semaphore) -> PendingOrdersResult:
    """Process one order and count how it ended. An order that already has a run, or that takes long, is left alone."""
    async with slots:
        try:
            return await _count_ending(await _start(order_id))
        except WorkflowAlreadyStartedError:
            return PendingOrdersResult(seen=1, skipped=1, joined=1)
        except ValidationError:
            return _count_failure(order_id, "BadInput")
        except FailureError as failure:
            if is_cancelled_exception(failure) and workflow.cancellation_reason() is not None:
                raise
            if cause(failure, OrderOnHold):
                return PendingOrdersResult(seen=1, skipped=1)
            return _count_failure(order_id, failure_type(failure))


async def _start(order_id: str) -> Child:
    return await workflow.start_child_workflow(
        OrderProcessingWorkflow.run,
        OrderProcessing(order_id=order_id),
        id=order_process_id(order_id),
        memo={UNLESS_HELD: True},  # it may have been put on hold since it was listed
        static_summary=f"Order {order_id}",
        priority=AFTER_OTHERS,
        **INDEPENDENT,
    )


async def _count_ending(child: Child) -> PendingOrdersResult:
    await workflow.wait([child], timeout=MAX_WAIT.total_seconds())
    if not child.done():
        return PendingOrdersResult(seen=1, skipped=1, still_running=1)
    status = (await child).status
    if status == "fulfilled":
        return PendingOrdersResult(seen=1, changed=1)
    return PendingOrdersResult(seen=1, skipped=1, insufficient_inventory=int(status == "insufficient_inventory"))


async def _alert_of_missing_products(page: PendingIds) -> None:
    """Alert the admins once a day, however many orders and lines wait for products."""
    number = page.waiting_for_product
    orders = "1 order waits" if number == 1 else f"{number:,} orders wait"
    await alert_admins(
        Alert(
            kind="waiting-for-product",
            key=f"waiting-for-product/{page.day}",
            severity="medium",
            message=f"{orders} for products: commerce products unlinked lists these",
            job_name="process-pending-orders",
        )
    )


def _count_failure(order_id: str, reason: str) -> PendingOrdersResult:
    return PendingOrdersResult(seen=1, failed=1, failures=[ItemFailure(id=order_id, reason=reason)])
