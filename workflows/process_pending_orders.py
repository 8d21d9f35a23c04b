"""Paid orders that nobody has started are worked off, in order of arrival, a bounded number at once."""

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError, is_cancelled_exception

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe
    from activities.orders import OrderActivities
    from commerce.errors import OrderOnHold
    from commerce.messages.jobs import ItemFailure
    from commerce.messages.orders import OrderProcessing, OrderResult, order_process_id
    from commerce.messages.pending_orders import OrdersWorkedOff, PendingOrders, PendingPage, PendingState
    from commerce.messages.progress import Progress
    from workflows.engine.cancellation import gather
    from workflows.engine.job import Job
    from workflows.order_processing import OrderProcessingWorkflow

Child = workflow.ChildWorkflowHandle[OrderProcessingWorkflow, OrderResult]
PATIENCE = timedelta(minutes=2)  # for one order: others wait behind it, and it goes on without us
# The orders' processes live on when this job is cancelled or terminated: each is nobody's but its own.
OWN_LIFE: dict[str, Any] = {
    "parent_close_policy": workflow.ParentClosePolicy.ABANDON,
    "cancellation_type": workflow.ChildWorkflowCancellationType.ABANDON,
}


@workflow.defn(name="process-pending-orders")
class ProcessPendingOrdersWorkflow:
    """Each order is processed under its own id, by the process that everybody else would start too (V10)."""

    def __init__(self) -> None:
        self._job = Job(OrderActivities.list_pending)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Tell how many orders are worked off."""
        return self._job.progress

    @workflow.run
    async def run(self, request: PendingOrders) -> OrdersWorkedOff:
        """Work off every order that is paid, open, not on hold, and not waiting for stock."""
        state = request.resume
        counts, after = (state.counts, state.after) if state else (OrdersWorkedOff(), None)
        async with self._job as job:
            await job.begin(state.run if state else None)
            while True:
                page = await job.batch(OrderActivities.list_pending, PendingPage(after=after, limit=request.page))
                free = asyncio.Semaphore(request.at_once)
                for ended in await gather(*(process(order_id, free) for order_id in page.order_ids)):
                    counts = counts.plus(ended)
                after = page.next
                job.tell(counts)
                if after is None:
                    return counts
                if job.is_long():
                    resume = PendingState(run=job.run, after=after, counts=counts)
                    workflow.continue_as_new(request.model_copy(update={"resume": resume}))


async def process(order_id: str, free: asyncio.Semaphore) -> OrdersWorkedOff:
    """Process one order and count how it ended; one that others are at work on, or that takes long, is left to it."""
    async with free:
        try:
            return await _ended(await _start(order_id))
        except WorkflowAlreadyStartedError:
            return OrdersWorkedOff(seen=1, skipped=1, joined=1)
        except ValidationError:
            return _failed(order_id, "BadInput")
        except FailureError as failure:
            if is_cancelled_exception(failure) and workflow.cancellation_reason() is not None:
                raise
            if cause(failure, OrderOnHold):
                return OrdersWorkedOff(seen=1, skipped=1)
            return _failed(order_id, describe(failure).split(":")[0])


async def _start(order_id: str) -> Child:
    return await workflow.start_child_workflow(
        OrderProcessingWorkflow.run,
        OrderProcessing(order_id=order_id, unless_held=True),  # it may have been put on hold since it was looked up
        id=order_process_id(order_id),
        static_summary=f"Order {order_id}",
        **OWN_LIFE,
    )


async def _ended(child: Child) -> OrdersWorkedOff:
    await workflow.wait([child], timeout=PATIENCE.total_seconds())
    if not child.done():
        return OrdersWorkedOff(seen=1, skipped=1, still_running=1)
    if (await child).status == "fulfilled":
        return OrdersWorkedOff(seen=1, changed=1)
    return OrdersWorkedOff(seen=1, skipped=1, insufficient_inventory=1)


def _failed(order_id: str, reason: str) -> OrdersWorkedOff:
    return OrdersWorkedOff(seen=1, failed=1, failures=[ItemFailure(id=order_id, reason=reason)])
