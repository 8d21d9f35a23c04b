"""Process an order: check and reserve stock, fulfill, buy a label, complete, notify the customer; or undo it all."""

import asyncio
from datetime import timedelta
from typing import Literal, NoReturn

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe_run_failure, failure_type, shop_error, to_failure
    from activities.captures import CaptureActivities
    from activities.fulfillment import FulfillmentActivities
    from activities.inventory import InventoryActivities
    from activities.notifications import NotificationActivities
    from activities.orders import OrderActivities
    from activities.picks import PickActivities
    from activities.reviews import ReviewActivities
    from commerce.errors import (
        AnsweredWithFailure,
        FulfilledElsewhere,
        InsufficientInventory,
        OrderCancelled,
        OrderChanged,
        OrderNotFound,
        OrderOnHold,
        OrderRefused,
        StepDiffers,
        UnknownVariant,
        VariantWithoutItems,
        WrongProcessId,
    )
    from commerce.messages.base import Nothing
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.orders import (
        RESTARTS,
        UNLESS_HELD,
        CompletedOrder,
        Completion,
        CreatedFulfillment,
        Hold,
        OrderChange,
        OrderProcessing,
        OrderRef,
        OrderResult,
        OrderStart,
        Refusal,
        ReviewRequest,
        ValidOrder,
        order_process_id,
        shipped_key,
    )
    from commerce.messages.picks import RecordedShortPick
    from commerce.messages.progress import Progress
    from commerce.telemetry.metrics import STOCK_OUTS
    from workflows.engine.alerts import alert_admins, run_key, send_or_alert
    from workflows.engine.calls import execute, is_reset, name_of
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.metrics import count
    from workflows.engine.policies import FINAL_STEP, LOCAL_FINAL_STEP, MAIL, OUTSIDE_STEP
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import OUTCOME, publish_order_id
    from workflows.parts.order_parcels import fulfillment_request, parcels, pick

PLAN = (
    OrderActivities.validate,
    InventoryActivities.check,
    InventoryActivities.reserve,
    FulfillmentActivities.create,
    FulfillmentActivities.create_label,
    OrderActivities.complete,
    NotificationActivities.send,
)
REVIEW_TIME = timedelta(days=2)  # for a person to review an order
PICK_TIME = timedelta(days=3)  # for the warehouse to pick one
MAX_RESTARTS = 10  # in a row, of an order that changes again and again


@workflow.defn(name="order-processing")
class OrderProcessingWorkflow:
    """One order, one process: its id is `order-processing-<order id>`."""

    def __init__(self) -> None:
        self._saga = Saga(PLAN)
        self._checked_at = workflow.now()
        self._order = OrderRef(order_id="")
        self._newest_revision = 0  # of those that were signalled to this run
        self._known_revision = 0  # what this run has read; a later one is news
        self._restarts = workflow.memo_value(RESTARTS, default=0)

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the order, step by step."""
        return self._saga.progress

    @workflow.signal(name="order-changed")
    def order_changed(self, change: OrderChange) -> None:
        """Undo what was done for an older revision of the order, and begin anew."""
        self._newest_revision = max(self._newest_revision, change.revision)
        if self._is_outdated():
            self._saga.interrupt(OrderChanged(self._order.order_id))

    @workflow.run
    async def run(self, request: OrderProcessing) -> OrderResult:
        """Fulfill the order. What it waits for (V2, V14), and what the shop has changed (V12), end it with a result.

        Anything else that stops it is a failure.
        """
        wanted = order_process_id(request.order_id)
        if workflow.info().workflow_id != wanted:
            raise to_failure(WrongProcessId(wanted))
        self._order = OrderRef(order_id=request.order_id)
        publish_order_id(request.order_id)
        try:
            result = await self._fulfill(request.unless_held or workflow.memo_value(UNLESS_HELD, default=False))
        except CANCEL_OR_FAILURE as failure:
            result = await uninterrupted(self._handle_failure(failure))
        workflow.upsert_search_attributes([OUTCOME.value_set(result.status)])
        return result

    async def _fulfill(self, unless_held: bool) -> OrderResult:
        async with self._saga as saga:
            # An operator resets a run: like a start by hand, this clears the hold.
            start = OrderStart(order_id=self._order.order_id, unless_held=unless_held and not is_reset())
            self._known_revision = self._newest_revision
            valid = await saga.begin(OrderActivities.validate, start)
            if not valid.fulfilled:  # the shop's changes to a fulfilled order change nothing here
                self._order = OrderRef(order_id=valid.order_id, revision=valid.revision)
                self._known_revision = valid.revision or 0
                if self._is_outdated():
                    raise to_failure(OrderChanged(valid.order_id))
            if valid.review:
                saga.plan([name_of(ReviewActivities.request)], after=name_of(InventoryActivities.reserve))
            if valid.picks:
                saga.plan([name_of(PickActivities.request)], after=name_of(FulfillmentActivities.create))
            if valid.captures:
                saga.plan([name_of(CaptureActivities.capture)], after=name_of(FulfillmentActivities.create_label))
            fulfilled = valid.fulfilled or await self._process(valid)
            notified = fulfilled.notification_sent or await self._notify(valid)
        return OrderResult(
            order_id=self._order.order_id,
            status="fulfilled",
            fulfillment_id=fulfilled.fulfillment_id,
            tracking_number=fulfilled.tracking_number,
            inventory_reserved=fulfilled.inventory_reserved,
            notification_sent=notified,
            tracking_numbers=fulfilled.tracking_numbers or list(filter(None, [fulfilled.tracking_number])),
        )

    def _is_outdated(self) -> bool:
        """Return whether the order is known to have changed since this run read it."""
        return self._order.revision is not None and self._order.revision < self._newest_revision

    async def _process(self, valid: ValidOrder) -> CompletedOrder:
        saga, order = self._saga, self._order
        self._checked_at = workflow.now()  # stock that arrives after this moment may make a refusal obsolete
        await saga.step(InventoryActivities.check, order)
        reserved = await saga.step(InventoryActivities.reserve, order, undo=InventoryActivities.release)
        if valid.review:
            await self._wait_for_review(valid.review)
        request, cancel = fulfillment_request(order, reserved)
        created = await saga.step(FulfillmentActivities.create, request, undo=cancel)
        short = await self._wait_for_pick(created) if valid.picks else None
        for name, parcel in parcels(saga, order, valid, created, short).items():
            void = FulfillmentActivities.void_label
            await saga.step(FulfillmentActivities.create_label, parcel, undo=void, policy=OUTSIDE_STEP, name=name)
        if valid.captures:
            await saga.step(CaptureActivities.capture, order, undo=CaptureActivities.refund, policy=OUTSIDE_STEP)
        return await self._complete(short)

    async def _wait_for_pick(self, created: CreatedFulfillment) -> RecordedShortPick | None:
        """Wait until the warehouse has picked the goods; return what was short, if the rest ships all the same (K1)."""
        alert = self._alert("pick-missing", "The warehouse has not answered yet what it has picked for the order")
        return await pick(self._saga, self._order, created, until=PICK_TIME, remind=alert)

    async def _complete(self, short: RecordedShortPick | None) -> CompletedOrder:
        completion = Completion(**dict(self._order), short_pick=short is not None)
        # History must know that units were short, because the admins are alerted after the step.
        policy = FINAL_STEP if short else LOCAL_FINAL_STEP
        completed = await self._saga.step(OrderActivities.complete, completion, policy=policy, final=True)
        if short:
            found = ", ".join(f"{item.sku}: {item.available} of {item.requested}" for item in short.items)
            message = "The order was shipped without units that the warehouse has not found: refund them"
            await alert_admins(self._alert("pick-short", message, f"Found {found}"))
        return completed

    async def _wait_for_review(self, reasons: list[str]) -> None:
        """Wait until a person has approved the order (V16)."""
        request = ReviewRequest(**dict(self._order), reasons=reasons)
        alert = self._alert("review-missing", "The order still waits for a person to review it")
        await self._saga.wait(ReviewActivities.request, request, answer=Nothing, until=REVIEW_TIME, remind=alert)

    async def _notify(self, valid: ValidOrder) -> bool:
        if not valid.has_email:
            self._saga.skip(NotificationActivities.send, "no e-mail address")
            return False
        alert = self._alert("notification-failed", "The customer was not notified that the order has shipped")
        mail = shipped_key(self._order.order_id)
        sending = self._saga.step(NotificationActivities.send, NotificationRef(key=mail), policy=MAIL)
        return await send_or_alert(sending, mail, alert)

    async def _handle_failure(self, failure: BaseException) -> OrderResult:
        if self._saga.is_done:  # the cancel or the change came too late
            self._restarts += 1
            try:
                return await self._fulfill(unless_held=True)
            except CANCEL_OR_FAILURE as late:
                failure = late
        try:
            outdated = cause(failure, OrderChanged) or cause(failure, StepDiffers)
            if not (outdated and self._may_restart(failure)):
                return await self._settle(failure)
        except FailureError as final:
            # The order may have changed before it was to be held, or since then, or while it was validated.
            changed = cause(final, OrderChanged) or self._newest_revision > self._known_revision
            if not (changed and self._may_restart(failure)):
                raise
        return self._restart()

    def _may_restart(self, failure: BaseException) -> bool:
        cancelled = isinstance(failure, asyncio.CancelledError)
        return not cancelled and self._saga.progress.state != "compensation_failed" and self._restarts < MAX_RESTARTS

    def _restart(self) -> NoReturn:
        """Begin anew, as a run that reads the order as it is now."""
        memo = {RESTARTS: self._restarts + 1, UNLESS_HELD: True}
        workflow.continue_as_new(OrderProcessing(order_id=self._order.order_id), memo=memo)

    async def _settle(self, failure: BaseException) -> OrderResult:
        """Record why the order is not fulfilled; return the result if it has one, or raise the final failure."""
        if cause(failure, OrderOnHold) or (cause(failure, OrderNotFound) and workflow.patched("no-hold-if-not-found")):
            # It stays on hold. An order that was not found may have been stored since: another run processes it.
            raise self._saga.final_failure(failure)
        shortage = cause(failure, InsufficientInventory)
        state = self._saga.progress.state
        cancelled = isinstance(failure, asyncio.CancelledError)
        if state != "compensation_failed" and not cancelled:
            if shortage:
                return await self._refuse(shortage)
            if cause(failure, UnknownVariant) and workflow.patched("wait-for-product"):
                self._saga.enter("compensated")  # as for a shortage
                return OrderResult(order_id=self._order.order_id, status="waiting_for_product")
            if (answered := cause(failure, AnsweredWithFailure)) and answered.step == name_of(ReviewActivities.request):
                return await self._reject()
            if self._restarts and (withdrawn := _withdrawn_by_shop(failure)):
                return OrderResult(order_id=self._order.order_id, status=withdrawn)
        if not (self._is_held_by_validation(failure) and workflow.patched("validate-holds")):
            reason = "cancelled" if cancelled else f"failed: {failure_type(failure)}"
            revision = self._order.revision if self._may_restart(failure) else None
            hold = Hold(order_id=self._order.order_id, reason=reason, revision=revision)
            await execute(OrderActivities.hold, self._saga.call("hold-order", hold), FINAL_STEP)
        final = self._saga.final_failure(failure)
        if state == "compensation_failed":
            alert = self._alert("compensation-failed", "Steps of the order could not be undone", str(failure))
            await alert_admins(alert)
        elif not cancelled and not cause(failure, OrderNotFound):  # its caller gets that error
            error = describe_run_failure(final)
            await alert_admins(self._alert("order-failed", "The order failed and is on hold", error))
        raise final

    def _is_held_by_validation(self, failure: BaseException) -> bool:
        return self._order.revision is None and isinstance(shop_error(failure), (OrderRefused, VariantWithoutItems))

    async def _reject(self) -> OrderResult:
        """Put an order on hold that a person has rejected."""
        hold = Hold(**dict(self._order), reason="rejected")
        await execute(OrderActivities.hold, self._saga.call("hold-order", hold), FINAL_STEP)
        return OrderResult(order_id=self._order.order_id, status="rejected")

    async def _refuse(self, shortage: InsufficientInventory) -> OrderResult:
        order = self._order
        refusal = Refusal(**dict(order), items=shortage.items, count=shortage.count, at=self._checked_at)
        refused = await execute(OrderActivities.refuse, self._saga.call("record-refusal", refusal), FINAL_STEP)
        count(STOCK_OUTS, shortage.count)
        self._saga.enter("compensated")  # also when there was nothing to undo yet
        await alert_admins(self._alert("insufficient-inventory", str(shortage), about=str(refused.day)))
        return OrderResult(
            order_id=order.order_id,
            status="insufficient_inventory",
            insufficient_items=shortage.items,
            insufficient_count=shortage.count,
        )

    def _alert(self, kind: str, message: str, error: str | None = None, about: str | None = None) -> Alert:
        """Return an alert that is sent once per run, or once per `about` if given."""
        order_id = self._order.order_id
        key = f"{kind}/{order_id}/{about or run_key()}"
        return Alert(kind=kind, key=key, message=message, order_id=order_id, error=error)


def _withdrawn_by_shop(failure: BaseException) -> Literal["cancelled", "fulfilled_elsewhere"] | None:
    """Return the outcome of a run that began anew and found that the shop had cancelled or shipped the order."""
    if cause(failure, OrderCancelled):
        return "cancelled"
    return "fulfilled_elsewhere" if cause(failure, FulfilledElsewhere) else None
