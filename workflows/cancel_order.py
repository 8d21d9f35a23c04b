"""Cancel an order: take back what `order-processing` did, refund the payment, notify the customer (B1 to B6)."""

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe, to_failure
    from activities.cancellations import CancellationActivities
    from activities.notifications import NotificationActivities
    from activities.payments import PaymentActivities
    from commerce.errors import AnsweredWithFailure, CarrierRefused, LabelNotRefunded, Unanswered, WrongProcessId
    from commerce.messages.base import Nothing
    from commerce.messages.cancellations import (
        PURPOSE,
        BoughtLabel,
        CancelOrder,
        CancelResult,
        LabelToVoid,
        MarkedOrder,
        OrderToCancel,
        Parcels,
        cancel_process_id,
        cancelled_key,
    )
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.orders import OrderChange, order_process_id
    from commerce.messages.payments import RefundRequest
    from commerce.messages.progress import Progress
    from commerce.messages.steps import Leftover
    from workflows.engine.alerts import alert_admins, run_key, send_or_alert
    from workflows.engine.calls import execute, name_of
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, allow_failure, uninterrupted
    from workflows.engine.policies import FINAL_STEP, MAIL, OUTSIDE_STEP, UNDO
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import OUTCOME, publish_order_id
    from workflows.engine.signals import send_signal
    from workflows.parts.refunds import refund_or_alert

PLAN = (
    CancellationActivities.begin,
    CancellationActivities.mark,
    CancellationActivities.check_parcels,
    CancellationActivities.void_label,
    CancellationActivities.restock,
    PaymentActivities.refund,
    CancellationActivities.complete,
    NotificationActivities.send,
)
OFFER_TIME = timedelta(days=7)  # for a person to agree to a cancellation
# A carrier may take weeks to refund a label. It is asked after these pauses, and then twice a day.
FIRST_PAUSE, LONGEST_PAUSE, VOID_TIME = timedelta(minutes=1), timedelta(hours=12), timedelta(days=30)


@workflow.defn(name="cancel-order")
class CancelOrderWorkflow:
    """One order, one process: its id is `cancel-order-<order id>`.

    Until a label is returned, or goods are put back, the order can still be kept as it was. From then on the process
    only goes forward: a cancel is ignored, and after a failure a retry continues.
    """

    def __init__(self) -> None:
        self._saga = Saga(PLAN)
        self._request = CancelOrder(order_id="-")
        self._order = OrderToCancel(order_id="")
        self._forced = self._is_wanted = False
        self._marks = self._goes_forward = False

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the cancellation, step by step."""
        return self._saga.progress

    @workflow.signal(name="start-again")
    def start_again(self, request: CancelOrder) -> None:
        """Receive that somebody has started the running process once more: `force` counts, and so does not to `ask`."""
        self._forced = self._forced or request.force
        self._is_wanted = self._is_wanted or not request.ask

    @workflow.run
    async def run(self, request: CancelOrder) -> CancelResult:
        """Cancel the order, or keep it as it was. A parcel that the carrier has, or may have, is a failure (B3)."""
        wanted = cancel_process_id(request.order_id)
        if workflow.info().workflow_id != wanted:
            raise to_failure(WrongProcessId(wanted))
        self._request, self._order = request, OrderToCancel(order_id=request.order_id)
        self._forced = self._forced or request.force
        publish_order_id(request.order_id)
        try:
            result = await self._cancel()
        except CANCEL_OR_FAILURE as failure:
            await uninterrupted(self._handle_failure(failure))
            raise self._saga.final_failure(failure) from None
        workflow.upsert_search_attributes([OUTCOME.value_set(result.status)])
        return result

    async def _cancel(self) -> CancelResult:
        async with self._saga as saga:
            await saga.begin(CancellationActivities.begin, self._order)
            if self._request.ask and not await self._is_agreed():
                return CancelResult(order_id=self._order.order_id, status="kept")
            self._marks = True
            marked = await saga.step(CancellationActivities.mark, self._order)
            await self._interrupt_processing(marked.revision)
            if self._forced or not marked.labels:
                saga.skip(CancellationActivities.check_parcels, "forced" if self._forced else "no labels")
            else:
                parcels = Parcels(**dict(self._order), labels=marked.labels)
                await saga.step(CancellationActivities.check_parcels, parcels, policy=OUTSIDE_STEP)
            voided = await self._void(marked.labels)
            if workflow.cancellation_reason() is not None and not voided:  # nothing has been taken back
                raise asyncio.CancelledError
            return await uninterrupted(self._take_back(marked, voided))

    async def _is_agreed(self) -> bool:
        """Ask the admins whether to take back an order that the shop has cancelled (B5)."""
        offer = CancellationActivities.offer
        self._saga.plan([name_of(offer)], after=name_of(CancellationActivities.begin))
        asking = asyncio.create_task(self._saga.wait(offer, self._order, answer=Nothing, until=OFFER_TIME))
        try:
            # Not while the question is being sent: that step would swallow the cancel below.
            await workflow.wait_condition(
                lambda: asking.done() or (self._is_wanted and self._saga.progress.state == "waiting")
            )
        finally:
            if not asking.done():  # this withdraws the question
                asking.cancel()
                with suppress(asyncio.CancelledError):
                    await asking
        if asking.cancelled():
            self._saga.skip(offer, "started by hand")
            return True
        try:
            asking.result()
        except FailureError as failure:
            if cause(failure, AnsweredWithFailure) or cause(failure, Unanswered):
                return False
            raise
        return True

    async def _interrupt_processing(self, revision: int) -> None:
        """Let the run of `order-processing`, if there is one, find out at once that the order is marked."""
        await send_signal(order_process_id(self._order.order_id), "order-changed", OrderChange(revision=revision))

    async def _void(self, labels: list[BoughtLabel]) -> int:
        """Return all labels to the carrier, and wait until it has refunded them; return how many it has (B3)."""
        names = void_names(labels)
        self._saga.plan(names, after=names[0])
        if not labels:
            self._saga.skip(CancellationActivities.void_label, "no labels")
        return sum([await self._void_one(name, label) for name, label in zip(names, labels, strict=False)])

    async def _void_one(self, name: str, label: BoughtLabel) -> bool:
        deadline, pause = workflow.now() + VOID_TIME, FIRST_PAUSE
        request = LabelToVoid(**dict(self._order), label=label)
        while True:
            step = self._saga.step(CancellationActivities.void_label, request, name=name, policy=UNDO, final=True)
            try:
                voided = await step
            except FailureError as failure:
                if self._forced and (cause(failure, CarrierRefused) or cause(failure, LabelNotRefunded)):
                    return False
                raise
            if voided.refund != "requested" or self._forced:
                return voided.refund != "none"
            if workflow.now() >= deadline:
                raise to_failure(LabelNotRefunded(self._order.order_id))
            await uninterrupted(self._pause(pause))
            pause = min(pause * 10, LONGEST_PAUSE)

    async def _pause(self, pause: timedelta) -> None:
        with suppress(TimeoutError):
            await workflow.wait_condition(lambda: self._forced, timeout=pause)

    async def _take_back(self, marked: MarkedOrder, voided: int) -> CancelResult:
        self._goes_forward = True
        saga = self._saga
        names = [undo_name(step) for step in marked.steps]
        saga.plan(names, after=void_names(marked.labels)[-1])
        for step, name in zip(marked.steps, names, strict=True):
            try:
                await saga.take_back(step, name)
            except FailureError as failure:
                if not (self._forced and cause(failure, CarrierRefused)):  # it did not refund the label either
                    raise
        await saga.step(CancellationActivities.restock, self._order, final=True, policy=FINAL_STEP)
        await refund_or_alert(saga, RefundRequest(order_id=self._order.order_id, purpose=PURPOSE), "a cancelled order")
        completed = await saga.step(CancellationActivities.complete, self._order, policy=FINAL_STEP, final=True)
        return CancelResult(
            order_id=self._order.order_id,
            status="refund_due" if completed.refund_due else "cancelled",
            labels_voided=voided,
            refunded=completed.refunded,
            refund_due=completed.refund_due,
            currency=completed.currency,
            notification_sent=await self._notify(has_email=completed.has_email),
        )

    async def _notify(self, *, has_email: bool) -> bool:
        if not has_email:
            self._saga.skip(NotificationActivities.send, "no e-mail address")
            return False
        mail = cancelled_key(self._order.order_id)
        sending = self._saga.step(NotificationActivities.send, NotificationRef(key=mail), policy=MAIL)
        message = "The customer was not notified that the order is cancelled"
        return await send_or_alert(sending, mail, self._alert_of("notification-failed", message))

    async def _handle_failure(self, failure: BaseException) -> None:
        """Keep the order as it was, if nothing of it was taken back; otherwise alert the admins."""
        if not self._marks:
            return
        if not self._goes_forward:
            keeping = execute(CancellationActivities.keep, self._saga.call("keep-order", self._order), UNDO)
            answer = await allow_failure(keeping)
            if answer and answer.kept:
                self._saga.progress.step("keep-order").state = "done"
                return
        await self._alert("cancellation-failed", "The order is partly taken back; retry its cancellation", failure)

    async def _alert(self, kind: str, message: str, failure: BaseException | None = None) -> None:
        await alert_admins(self._alert_of(kind, message, describe(failure) if failure else None))

    def _alert_of(self, kind: str, message: str, error: str | None = None) -> Alert:
        order_id = self._order.order_id
        return Alert(kind=kind, key=f"{kind}/{order_id}/{run_key()}", message=message, order_id=order_id, error=error)


def void_names(labels: list[BoughtLabel]) -> list[str]:
    """Return the names of the steps that return the labels; the first one's also if there are no labels."""
    first = name_of(CancellationActivities.void_label)
    return [first, *(f"{first}/{number}" for number in range(2, len(labels) + 1))]


def undo_name(step: Leftover) -> str:
    """Return the name under which the progress shows the undo of a step: `void-shipping-label/2`."""
    _, _, number = step.call["key"]["step"].partition("/")
    return f"{step.undo}/{number}" if number else step.undo
