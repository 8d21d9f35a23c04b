"""The step that captures the payment of an order, and its undo."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce import captures, payments
from commerce.captures import CapturePlan
from commerce.database import Database
from commerce.errors import CaptureRefused, PaymentProviderUnknown, PaymentRefused, PaymentsDown
from commerce.external_steps import ExternalEffect
from commerce.integrations.payment_provider import PaymentProvider, is_payment_of
from commerce.messages.base import Message, Nothing
from commerce.messages.orders import OrderRef
from commerce.messages.payments import Captured, RefundRequest
from commerce.messages.steps import Call

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the provider may still capture for this long after we stopped waiting


class CaptureActivities:
    """Capture authorized payments.

    `providers`: the payment provider that is used, by name. `outages` alerts the admins when it is down.
    """

    def __init__(
        self, database: Database, providers: Mapping[str, PaymentProvider], outages: OutageAlerts | None = None
    ) -> None:
        self._outages = outages
        self._capture = _Capture(database, providers)

    @activity.defn(name="capture-payment")
    async def capture(self, call: Call[OrderRef]) -> Captured:
        """Capture the authorized payment of the order, once however often this is tried (P4)."""
        async with self._watched():
            return await self._capture.do(call)

    @activity.defn(name=captures.UNDO)
    async def refund(self, call: Call[OrderRef]) -> Nothing:
        """Refund what was captured, unless somebody else has captured it."""
        async with self._watched():
            return await self._capture.undo(call)

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(PaymentsDown.service) if self._outages else nullcontext()


class _CaptureNote(Message):
    """The ledger's note of a capture. `ours`: it was not captured yet when this was noted."""

    order_id: str
    provider: str
    payment_id: str
    amount: int
    currency: str
    ours: bool


class _Capture(ExternalEffect[OrderRef, CapturePlan, _CaptureNote, Captured]):
    def __init__(self, database: Database, providers: Mapping[str, PaymentProvider]) -> None:
        super().__init__(database, note=_CaptureNote, result=Captured, lease=LEASE, max_delay=MAX_DELAY)
        self._providers = providers

    async def read(self, tx: AsyncSession, order: OrderRef) -> CapturePlan:
        """Return what is to be captured, unless the order has changed."""
        return await captures.plan(tx, order)

    async def prepare(self, plan: CapturePlan, reference: str) -> _CaptureNote:
        """Note the payment, and whether it is captured already."""
        name = next((name for name, each in self._providers.items() if is_payment_of(each, plan.payment_id)), None)
        if name is None:  # the settings have changed since the order was validated
            raise CaptureRefused(plan.order_id, "payment_not_captured_here")
        try:
            captured = await self._providers[name].captured(plan.payment_id, plan.currency) if plan.amount else 0
        except PaymentRefused as refused:
            raise CaptureRefused(plan.order_id, refused.code) from None
        return _CaptureNote(
            order_id=plan.order_id,
            provider=name,
            payment_id=plan.payment_id,
            amount=plan.amount,
            currency=plan.currency,
            ours=captured == 0,
        )

    async def perform(self, note: _CaptureNote) -> Captured:
        """Capture the payment."""
        if note.amount:
            reference = f"capture/{note.order_id}"  # of the order, not of the step: a payment is captured once
            try:
                await self._provider(note).capture(note.payment_id, note.amount, note.currency, reference)
            except PaymentRefused as refused:
                raise CaptureRefused(note.order_id, refused.code) from None
        return Captured(
            amount=note.amount,
            currency=note.currency,
            provider=note.provider,
            payment_id=note.payment_id,
            ours=note.ours,
        )

    async def record(self, tx: AsyncSession, order: OrderRef, result: Captured) -> None:
        """Record in the shop's own tables that the order is paid."""
        await captures.record(tx, order.order_id, result.payment_id, result.provider, result.amount, ours=result.ours)

    async def take_back(self, note: _CaptureNote) -> bool:
        """Refund the payment if it is captured; one that is only authorized can still be captured by a later run."""
        if not (note.ours and note.amount):
            return True
        provider = self._provider(note)
        if not await provider.captured(note.payment_id, note.currency):
            return False
        async with self._database.transaction() as tx:
            plan = await captures.plan_refund(tx, note.order_id, note.payment_id, note.provider, note.amount)
        if plan is None:
            return True
        refund = await provider.refund(note.payment_id, plan.amount, note.currency, plan.reference)
        request = RefundRequest(order_id=note.order_id, purpose=plan.purpose)
        async with self._database.transaction() as tx:
            if refund is None:
                await payments.record_elsewhere(tx, request)
            else:
                await payments.record_made(tx, request, refund.id, is_pending=refund.state == "pending")
            await captures.mark_refunded(tx, note.order_id)
        return True

    def _provider(self, note: _CaptureNote) -> PaymentProvider:
        try:
            return self._providers[note.provider]
        except KeyError:
            raise PaymentProviderUnknown(note.provider) from None
