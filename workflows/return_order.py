"""Take goods of a fulfilled order back: send a label, wait for the goods, restock them, refund them (R1 to R6)."""

import asyncio
from datetime import timedelta

from temporalio import workflow

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe, shop_error, to_failure
    from activities.notifications import NotificationActivities
    from activities.payments import PaymentActivities
    from activities.returns import ReturnActivities
    from commerce.errors import AnsweredWithFailure, BadInput, OrderRefused, Unanswered, WrongProcessId
    from commerce.messages.notifications import Alert, NotificationRef
    from commerce.messages.payments import RefundRequest
    from commerce.messages.progress import Progress
    from commerce.messages.returns import (
        PROCESS_ID_PREFIX,
        CheckedReceipt,
        CompletedReturn,
        NewReturn,
        ReceivedReturn,
        ReceivedUnits,
        ReturnOrder,
        ReturnReceipt,
        ReturnRef,
        ReturnResult,
        closed_key,
        return_process_id,
        returned_key,
    )
    from workflows.engine.alerts import alert_admins, run_key, send_or_alert
    from workflows.engine.calls import execute
    from workflows.engine.cancellation import CANCEL_OR_FAILURE, uninterrupted
    from workflows.engine.policies import FINAL_STEP, MAIL, OUTSIDE_STEP
    from workflows.engine.saga import Saga
    from workflows.engine.search_attributes import OUTCOME, publish_order_id
    from workflows.parts.refunds import refund_or_alert

PLAN = (
    ReturnActivities.begin,
    ReturnActivities.register,
    ReturnActivities.create_label,
    ReturnActivities.ask,
    ReturnActivities.receive,
    PaymentActivities.refund,
    ReturnActivities.complete,
    NotificationActivities.send,
)


@workflow.defn(name="return-order")
class ReturnOrderWorkflow:
    """One return, one process: its id is `return-order-<return id>`. An order can have several.

    Until the goods are back, a failure or a cancel closes the return and voids its label. From then on the process only
    goes forward: a cancel is ignored, and after a failure a retry continues.
    """

    def __init__(self) -> None:
        self._saga = Saga(PLAN)
        self._ref = ReturnRef(order_id="", return_id="")
        self._asks = self._is_received = False

    @workflow.query(name="progress")
    def progress(self) -> Progress:
        """Return the progress of the return, step by step."""
        return self._saga.progress

    @workflow.run
    async def run(self, request: ReturnOrder) -> ReturnResult:
        """Take the goods back. That they do not come back is a result, too."""
        process_id = workflow.info().workflow_id
        return_id = request.return_id or process_id.removeprefix(PROCESS_ID_PREFIX)
        if process_id != return_process_id(return_id):
            raise to_failure(WrongProcessId(return_process_id(return_id)))
        self._ref = ReturnRef(order_id=request.order_id, return_id=return_id)
        publish_order_id(request.order_id)
        try:
            result = await self._return(request)
        except CANCEL_OR_FAILURE as failure:
            result = await uninterrupted(self._settle(failure))
        workflow.upsert_search_attributes([OUTCOME.value_set(result.status)])
        return result

    async def _return(self, request: ReturnOrder) -> ReturnResult:
        async with self._saga as saga:
            begun = await saga.begin(ReturnActivities.begin, self._ref)
            if begun.received:  # an earlier run has ended since
                for step in (ReturnActivities.register, ReturnActivities.create_label, ReturnActivities.ask):
                    saga.skip(step, "the goods are back")
            receipt = None if begun.received else await self._wait_for_goods(request)
            units = ReceivedUnits(**dict(self._ref), receipt=receipt)
            received = await saga.step(ReturnActivities.receive, units, final=True, policy=FINAL_STEP)
            self._is_received = True
            return await uninterrupted(self._complete(received))

    async def _wait_for_goods(self, request: ReturnOrder) -> ReturnReceipt:
        """Register the return, send its label, and wait for the goods (R2, R3)."""
        saga = self._saga
        wanted = NewReturn(
            **dict(self._ref),
            items=request.items,
            label=request.label,
            refund=request.refund,
            refund_shipping=request.refund_shipping,
        )
        registered = await saga.step(ReturnActivities.register, wanted, undo=ReturnActivities.close)
        if registered.needs_label:
            void = ReturnActivities.void_label
            await saga.step(ReturnActivities.create_label, self._ref, undo=void, policy=OUTSIDE_STEP)
        else:
            saga.skip(ReturnActivities.create_label, "no label is needed")
        time = timedelta(days=registered.days)
        self._asks = True
        return await saga.wait(
            ReturnActivities.ask, self._ref, answer=ReturnReceipt, until=time, accepts=self._is_possible
        )

    async def _is_possible(self, receipt: ReturnReceipt) -> bool:
        """Return whether the return has the units that came back. Answers in Temporal's UI are not checked before."""
        check = self._saga.call("check-receipt", CheckedReceipt(**dict(self._ref), receipt=receipt))
        found = await self._saga.until_ended(lambda: execute(ReturnActivities.check_receipt, check, FINAL_STEP))
        if found.problems:
            message = "What was received of a return cannot be right, and is asked for again"
            await alert_admins(self._alert("return-receipt", message, found.summary()))
        return not found.problems

    async def _complete(self, received: ReceivedReturn) -> ReturnResult:
        saga, order_id, return_id = self._saga, self._ref.order_id, self._ref.return_id
        if received.refund:
            purpose = return_process_id(return_id)
            request = RefundRequest(order_id=order_id, purpose=purpose, return_id=return_id)
            await refund_or_alert(saga, request, "a returned order")
        else:
            saga.skip(PaymentActivities.refund, "nothing to refund here")
        completed = await saga.step(ReturnActivities.complete, self._ref, policy=FINAL_STEP, final=True)
        return ReturnResult(
            order_id=order_id,
            return_id=return_id,
            status="refund_due" if completed.refund_due else "returned",
            units=received.units,
            restocked=received.restocked,
            refunded=completed.refunded,
            refund_due=completed.refund_due,
            currency=completed.currency,
            notification_sent=await self._notify(completed),
        )

    async def _notify(self, completed: CompletedReturn) -> bool:
        if not completed.has_email:
            self._saga.skip(NotificationActivities.send, "no e-mail address")
            return False
        mail = returned_key(self._ref.return_id)
        sending = self._saga.step(NotificationActivities.send, NotificationRef(key=mail), policy=MAIL)
        message = "The customer was not notified that the goods are back"
        return await send_or_alert(sending, mail, self._alert("notification-failed", message))

    async def _settle(self, failure: BaseException) -> ReturnResult:
        """Return the result if the goods did not come back, or raise the final failure."""
        final = self._saga.final_failure(failure)
        if self._is_received:
            message = "The goods of a return are back, but it is not completed; retry it"
            await alert_admins(self._alert("return-failed", message, describe(failure)))
            raise final
        if self._saga.progress.state == "compensation_failed":
            message = "Steps of a return could not be undone"
            await alert_admins(self._alert("compensation-failed", message, str(failure)))
            raise final
        if self._asks:
            await self._mail_that_it_is_closed()
        if cause(failure, AnsweredWithFailure):
            return ReturnResult(**dict(self._ref), status="refused")
        if cause(failure, Unanswered):
            message = "The goods of a return have not come back in time; it is closed, and its label is void"
            alert = self._alert("return-missing", message)
            await alert_admins(alert.model_copy(update={"severity": "medium"}))
            return ReturnResult(**dict(self._ref), status="not_returned")
        is_known_to_caller = isinstance(shop_error(failure), (OrderRefused, BadInput))
        if not isinstance(failure, asyncio.CancelledError) and not is_known_to_caller:
            await alert_admins(self._alert("return-failed", "A return has failed and is closed", describe(failure)))
        raise final

    async def _mail_that_it_is_closed(self) -> None:
        mail = NotificationRef(
            key=closed_key(self._ref.return_id, self._saga.call("close-return", self._ref).key.generation)
        )
        sending = execute(NotificationActivities.send, self._saga.call("send-notification/closed", mail), MAIL)
        message = "The customer was not notified that a return is closed"
        await send_or_alert(sending, mail.key, self._alert("notification-failed", message))

    def _alert(self, kind: str, message: str, error: str | None = None) -> Alert:
        order_id, key = self._ref.order_id, f"{kind}/{self._ref.return_id}/{run_key()}"
        return Alert(kind=kind, key=key, message=message, order_id=order_id, error=error)
