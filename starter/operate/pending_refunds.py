"""Look up refunds that the payment provider has accepted but not made yet, until they are made or have failed (P5)."""

from collections.abc import Mapping

import structlog

from commerce import payments
from commerce.database import Database
from commerce.errors import PaymentRefused, PermanentError
from commerce.integrations.payment_provider import PaymentProvider, ProviderRefund
from commerce.mail.notifier import Notifier
from commerce.messages.notifications import Alert
from commerce.payments import PendingRefund

MAX_REFUNDS = 20  # at once
KIND = "refund-due"

log = structlog.stdlib.get_logger("commerce.refunds")


async def check_pending_refunds(
    database: Database, providers: Mapping[str, PaymentProvider], notifier: Notifier
) -> int:
    """Look up some refunds that are pending; return how many are made or have failed.

    The admins are alerted of a failed one, which is due again. Raises what can be retried: DatabaseUnavailable,
    PaymentUnavailable, MailUnavailable, AlertUnavailable or StepInProgress.
    """
    if not providers:
        return 0
    async with database.transaction() as tx:
        found = await payments.take_pending(tx, [*providers], MAX_REFUNDS)
    settled = 0
    for refund in found:
        now = await _look_up(providers[refund.provider], refund)
        if now.state == "pending":
            continue
        if now.state == "failed":
            await _alert(notifier, refund, now.reason)  # first: an alert is sent once per key
        async with database.transaction() as tx:
            settled += await payments.settle(tx, refund, failed=now.state == "failed")
    return settled


async def _look_up(provider: PaymentProvider, refund: PendingRefund) -> ProviderRefund:
    try:
        return await provider.look_up_refund(refund.refund_id)
    except PaymentRefused as refused:  # another account, for example: it stays pending, and is looked up again
        log.warning("a pending refund cannot be looked up", order_id=refund.order_id, code=refused.code)
        return ProviderRefund(refund.refund_id, "pending")


async def _alert(notifier: Notifier, refund: PendingRefund, reason: str) -> None:
    alert = Alert(
        kind=KIND,
        key=f"{KIND}/{refund.order_id}/{refund.refund_id}",
        message="A refund that the payment provider had accepted has failed",
        order_id=refund.order_id,
        error=f"refund_{reason}",
    )
    try:
        await notifier.alert(alert)
    except PermanentError as error:
        await notifier.mark_failed(alert.key, type(error).__name__)
