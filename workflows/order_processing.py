"""Process an order: check and reserve stock, fulfill, buy a label, complete, notify the customer; or undo it all."""

import asyncio

from temporalio import workflow
from temporalio.exceptions import ApplicationError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe, failure_type, to_failure
    from activities.fulfillment import FulfillmentActivities
    from activities.inventory import InventoryActivities
    from activities.notifications import NotificationActivities
    from activities.orders import OrderActivities
    from commerce.errors import InsufficientInventory, OrderNotFound, OrderOnHold, WrongProcessId
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.orders import (
        UNLESS_HELD,
        CompletedOrder,
        Hold,
        OrderProcessing,
        OrderRef,
        OrderResult,
        OrderStart,
        Refusal,
        ValidOrder,
        order_process_id,
        shipped_key,
    )
    from commerce.messages.progress import Progress
    from commerce.telemetry.metrics import STOCK_OUTS
    from workflows.engine.alerts import alert_admins, run_key, send_or_alert
    from workflows.engine.calls import execute, is_reset
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.metrics import count
    from workflows.engine.policies import FINAL_STEP, MAIL, OUTSIDE_STEP
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import ORDER_ID, OUTCOME

PLAN = (
    OrderActivities.validate,
    InventoryActivities.check,
    InventoryActivities.reserve,
    FulfillmentActivities.create,
    FulfillmentActivities.create_label,
    OrderActivities.complete,
    NotificationActivities.send,
)


@workflow.defn(name="order-processing")
class OrderProcessingWorkflow:
    """One order, one process: its id is `order-processing-<order id>`."""

    def __init__(self) -> None:
        self._saga = Saga(PLAN)
        self._checked_at = workflow.now()

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the order, step by step."""
        return self._saga.progress

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        """Fulfill the order. Insufficient stock is a result (V2); anything else that stops it is a failure."""
        wanted = order_process_id(request.order_id)
        if workflow.info().workflow_id != wanted:
            raise to_failure(WrongProcessId(wanted))
        order = OrderRef(order_id=request.order_id)
        if workflow.info().typed_search_attributes.get(ORDER_ID) != order.order_id:  # the client did not set it
            workflow.upsert_search_attributes([ORDER_ID.value_set(order.order_id)])
        try:
            result = await self._fulfill(order, request.unless_held or workflow.memo_value(UNLESS_HELD, default=False))
        except CANCEL_OR_FAILURE as failure:
            result = await uninterrupted(self._handle_failure(order, failure))
        workflow.upsert_search_attributes([OUTCOME.value_set(result.status)])
        return result

    async def _fulfill(self, order: OrderRef, unless_held: bool) -> OrderResult:
        async with self._saga as saga:
            # An operator resets a run: like a start by hand, this clears the hold.
            start = OrderStart(order_id=order.order_id, unless_held=unless_held and not is_reset())
            valid = await saga.begin(OrderActivities.validate, start)
            fulfilled = valid.fulfilled or await self._process(order, valid)
            notified = fulfilled.notification_sent or await self._notify(order, valid)
        return OrderResult(
            order_id=order.order_id,
            status="fulfilled",
            fulfillment_id=fulfilled.fulfillment_id,
            tracking_number=fulfilled.tracking_number,
            inventory_reserved=fulfilled.inventory_reserved,
            notification_sent=notified,
        )

    async def _process(self, order: OrderRef, valid: ValidOrder) -> CompletedOrder:
        saga = self._saga
        self._checked_at = workflow.now()  # stock that arrives after this moment may make a refusal obsolete
        await saga.step(InventoryActivities.check, order)
        await saga.step(InventoryActivities.reserve, order, undo=InventoryActivities.release)
        await saga.step(FulfillmentActivities.create, order, undo=FulfillmentActivities.cancel)
        if valid.needs_label:
            void = FulfillmentActivities.void_label
            await saga.step(FulfillmentActivities.create_label, order, undo=void, policy=OUTSIDE_STEP)
        else:
            saga.skip(FulfillmentActivities.create_label, "nothing to ship")
        return await saga.step(OrderActivities.complete, order, policy=FINAL_STEP, final=True)

    async def _notify(self, order: OrderRef, valid: ValidOrder) -> bool:
        if not valid.has_email:
            self._saga.skip(NotificationActivities.send, "no e-mail address")
            return False
        alert = _alert(order, "notification-failed", "The customer was not notified that the order has shipped")
        mail = shipped_key(order.order_id)
        sending = self._saga.step(NotificationActivities.send, NotificationRef(key=mail), policy=MAIL)
        return await send_or_alert(sending, mail, alert)

    async def _handle_failure(self, order: OrderRef, failure: BaseException) -> OrderResult:
        if cause(failure, OrderOnHold) or (cause(failure, OrderNotFound) and workflow.patched("no-hold-if-not-found")):
            # It stays on hold. An order that was not found may have been stored since: another run processes it.
            raise self._saga.final_failure(failure)
        shortage = cause(failure, InsufficientInventory)
        state = self._saga.progress.state
        cancelled = isinstance(failure, asyncio.CancelledError)
        if shortage and state != "compensation_failed" and not cancelled:
            return await self._refuse(order, shortage)
        reason = "cancelled" if cancelled else f"failed: {failure_type(failure)}"
        hold = Hold(order_id=order.order_id, reason=reason)
        await execute(OrderActivities.hold, self._saga.call("hold-order", hold), FINAL_STEP)
        final = self._saga.final_failure(failure)
        if state == "compensation_failed":
            alert = _alert(order, "compensation-failed", "Steps of the order could not be undone", str(failure))
            await alert_admins(alert)
        elif not cancelled and not cause(failure, OrderNotFound):  # its caller gets that error
            await alert_admins(_alert(order, "order-failed", "The order failed and is on hold", _error_line(final)))
        raise final

    async def _refuse(self, order: OrderRef, shortage: InsufficientInventory) -> OrderResult:
        refusal = Refusal(order_id=order.order_id, items=shortage.items, count=shortage.count, at=self._checked_at)
        refused = await execute(OrderActivities.refuse, self._saga.call("record-refusal", refusal), FINAL_STEP)
        count(STOCK_OUTS, shortage.count)
        self._saga.enter("compensated")  # also when there was nothing to undo yet
        await alert_admins(_alert(order, "insufficient-inventory", str(shortage), about=str(refused.day)))
        return OrderResult(
            order_id=order.order_id,
            status="insufficient_inventory",
            insufficient_items=shortage.items,
            insufficient_count=shortage.count,
        )


def _error_line(failure: BaseException) -> str:
    """Return the error that the run fails with, as operators see it in Temporal's UI."""
    return f"{failure.type}: {failure.message}" if isinstance(failure, ApplicationError) else describe(failure)


def _alert(order: OrderRef, kind: str, message: str, error: str | None = None, about: str | None = None) -> Alert:
    """Return an alert that is sent once per run, or once per `about` if given."""
    key = f"{kind}/{order.order_id}/{about or run_key()}"
    return Alert(kind=kind, key=key, message=message, order_id=order.order_id, error=error)
