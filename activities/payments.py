"""Activities that give customers their money back."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta
from typing import Literal

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.outages import OutageAlerts
from activities.boundary.questions import ask_admins
from commerce import ledger, payments
from commerce.database import Database
from commerce.errors import MailServerDown, PaymentProviderUnknown, PaymentsDown
from commerce.external_steps import ExternalEffect
from commerce.integrations.payment_provider import PaymentProvider, is_payment_of
from commerce.mail.notifier import Notifier
from commerce.messages.base import Message, Nothing
from commerce.messages.notifications import Alert
from commerce.messages.payments import AT_SHOP, Refund, RefundRequest, ShopRefund
from commerce.messages.steps import Call
from commerce.payments import RefundPlan

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the provider may still make a refund for this long after we stopped waiting
KIND = "refund-at-shop"


class PaymentActivities:
    """Refund payments.

    `providers`: the payment provider that is used, by name; none if payments are refunded at the shop. `outages` alerts
    the admins when it is down.
    """

    def __init__(
        self,
        database: Database,
        providers: Mapping[str, PaymentProvider],
        notifier: Notifier,
        outages: OutageAlerts | None = None,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._outages = outages
        self._refund = _PaymentRefund(database, providers)

    @activity.defn(name="refund-payment")
    async def refund(self, call: Call[RefundRequest]) -> Refund:
        """Refund all that is left of the payment, once however often this is tried (P1)."""
        async with self._watched():
            return await self._refund.do(call)

    @activity.defn(name="refund-at-shop")
    async def request(self, call: Call[ShopRefund]) -> Nothing:
        """Ask the admins to refund the payment at the shop and to note that here, once per wait (N1).

        An alert that cannot be sent stops nothing: the process is in the list of what waits.
        """
        question = Alert(
            kind=KIND,
            key=f"{KIND}/{call.input.order_id}",
            severity="medium",
            message="The order's payment must be refunded at the shop that it comes from",
            order_id=call.input.order_id,
        )
        await ask_admins(self._database, self._notifier, self._watched(MailServerDown.service), call.key, question)
        return Nothing()

    @activity.defn(name="note-refund")
    async def note(self, call: Call[RefundRequest]) -> Nothing:
        """Record that the payment was refunded at the shop."""

        async with self._database.transaction() as tx:

            async def record() -> Nothing:
                await payments.record_made(tx, call.input, None)
                return Nothing()

            return await ledger.once(tx, call, Nothing, record)

    def _watched(self, service: str = PaymentsDown.service) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(service) if self._outages else nullcontext()


class _RefundNote(Message):
    """The ledger's note of a refund: what is to be done where. The reference is the same in all runs."""

    todo: Literal["refund", "release", "at_shop", "none", "made", "pending"]
    provider: str
    payment_id: str
    amount: int
    currency: str
    reference: str
    refund_id: str | None = None  # of one that was made before


class _PaymentRefund(ExternalEffect[RefundRequest, RefundPlan, _RefundNote, Refund]):
    def __init__(self, database: Database, providers: Mapping[str, PaymentProvider]) -> None:
        super().__init__(database, note=_RefundNote, result=Refund, lease=LEASE, max_delay=MAX_DELAY)
        self._providers = providers

    async def read(self, tx: AsyncSession, request: RefundRequest) -> RefundPlan:
        """Plan the refund; a plan is made once, and kept."""
        return await payments.plan_refund(tx, request, self._provider_of)

    async def prepare(self, plan: RefundPlan, reference: str) -> _RefundNote:
        """Note the plan, whose reference is the refund's own: that of the step differs between runs."""
        return _RefundNote(
            todo=_todo(plan),
            provider=plan.provider,
            payment_id=plan.payment_id,
            amount=plan.amount,
            currency=plan.currency,
            reference=plan.reference,
            refund_id=plan.refund_id,
        )

    async def perform(self, note: _RefundNote) -> Refund:
        """Refund the payment, or cancel its authorization."""
        made = Refund(state="made", amount=note.amount, currency=note.currency, refund_id=note.refund_id)
        if note.todo == "refund":
            refund = await self._provider(note).refund(note.payment_id, note.amount, note.currency, note.reference)
            if refund is None:
                return Refund(state="none")
            return made.model_copy(update={"refund_id": refund.id, "state": refund.state})
        if note.todo == "release":
            await self._provider(note).release(note.payment_id, note.reference)
            return Refund(state="released")
        if note.todo in ("at_shop", "pending"):
            return made.model_copy(update={"state": note.todo})
        return made if note.todo == "made" else Refund(state="none")

    async def record(self, tx: AsyncSession, request: RefundRequest, result: Refund) -> None:
        """Record in the shop's own table what was refunded."""
        if result.state in ("made", "pending"):
            await payments.record_made(tx, request, result.refund_id, is_pending=result.state == "pending")
        elif result.state == "none":
            await payments.record_elsewhere(tx, request)

    async def take_back(self, note: _RefundNote) -> bool:
        """Leave a refund as it is: money that was given back stays with the customer, so the step has no undo."""
        return True

    def _provider_of(self, reference: str) -> str:
        owners = [name for name, provider in self._providers.items() if is_payment_of(provider, reference)]
        return owners[0] if owners else AT_SHOP

    def _provider(self, note: _RefundNote) -> PaymentProvider:
        try:
            return self._providers[note.provider]
        except KeyError:
            raise PaymentProviderUnknown(note.provider) from None


def _todo(plan: RefundPlan) -> Literal["refund", "release", "at_shop", "none", "made", "pending"]:
    if plan.state != "due":
        return plan.state
    if plan.amount:
        return "at_shop" if plan.provider == AT_SHOP else "refund"
    return "release" if plan.release else "none"
