"""Steps that refund a payment. If that fails, the refund stays due, and the admins are alerted (B5, R4)."""

from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import FailureError

with workflow.unsafe.imports_passed_through():
    from activities.boundary.failures import cause, describe
    from activities.payments import PaymentActivities
    from commerce.errors import AnsweredWithFailure
    from commerce.messages.notifications import Alert
    from commerce.messages.payments import NotedRefund, Refund, RefundRequest, ShopRefund
    from workflows.engine.alerts import alert_admins, run_key
    from workflows.engine.calls import name_of
    from workflows.engine.policies import FINAL_STEP, OUTSIDE_STEP
    from workflows.engine.saga import Saga

SHOP_REFUND_TIME = timedelta(days=14)  # for a person to note a refund that is made at the shop


async def refund_or_alert(saga: Saga, request: RefundRequest, subject: str) -> None:
    """Refund a payment; `subject` is whose, such as `a cancelled order`."""
    try:
        refund = await saga.step(PaymentActivities.refund, request, policy=OUTSIDE_STEP)
    except FailureError as failure:
        alert = _alert(request, "refund-due", f"The payment of {subject} could not be refunded")
        await alert_admins(alert.model_copy(update={"error": describe(failure)}))
        return
    if refund.state == "at_shop" and not await _is_noted(saga, request, refund, subject):
        await alert_admins(_alert(request, "refund-due", f"The payment of {subject} was not refunded at the shop"))


async def _is_noted(saga: Saga, request: RefundRequest, refund: Refund, subject: str) -> bool:
    """Wait until a person has noted that the payment is refunded at the shop (P3)."""
    asked = ShopRefund(**dict(request), amount=refund.amount, currency=refund.currency)
    saga.plan([name_of(PaymentActivities.request)], after=name_of(PaymentActivities.refund))
    remind = _alert(request, "refund-missing", f"The payment of {subject} is still to be refunded at the shop")
    try:
        answer = await saga.wait(
            PaymentActivities.request,
            asked,
            answer=NotedRefund,
            until=SHOP_REFUND_TIME,
            remind=remind.model_copy(update={"severity": "medium"}),
            default=NotedRefund(noted=False),
        )
    except FailureError as failure:
        if not cause(failure, AnsweredWithFailure):
            raise
        return False
    if answer.noted:
        saga.plan([name_of(PaymentActivities.note)], after=name_of(PaymentActivities.request))
        await saga.step(PaymentActivities.note, request, policy=FINAL_STEP)
    return answer.noted


def _alert(request: RefundRequest, kind: str, message: str) -> Alert:
    order_id = request.order_id
    return Alert(kind=kind, key=f"{kind}/{order_id}/{run_key()}", message=message, order_id=order_id)
