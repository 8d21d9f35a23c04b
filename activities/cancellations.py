"""Activities that take an order back."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext, suppress

from temporalio import activity

from activities.boundary.generations import begin, key_of_run
from activities.boundary.outages import OutageAlerts
from activities.boundary.questions import ask_admins
from commerce import cancellations, ledger
from commerce.database import Database
from commerce.errors import (
    CarrierDown,
    CarrierUnavailable,
    CarrierUnknown,
    LabelNotRefunded,
    MailServerDown,
    ParcelHandedOver,
    ParcelUnknown,
    StaleGeneration,
)
from commerce.integrations.carrier import Carrier
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.cancellations import (
    BegunCancellation,
    BoughtLabel,
    CancelledOrder,
    KeptOrder,
    LabelToVoid,
    MarkedOrder,
    OrderToCancel,
    Parcels,
    Restocked,
    VoidedLabel,
)
from commerce.messages.notifications import Alert
from commerce.messages.steps import Begin, Call

OFFER = "cancellation-offer"


class CancellationActivities:
    """Take an order back. `carriers` are all carriers by name; the one named `carrier` sells new labels."""

    def __init__(
        self,
        database: Database,
        carriers: Mapping[str, Carrier],
        carrier: str,
        notifier: Notifier,
        outages: OutageAlerts | None = None,
    ) -> None:
        self._database = database
        self._carriers = carriers
        self._carrier = carrier
        self._notifier = notifier
        self._outages = outages

    @activity.defn(name="begin-cancellation")
    async def begin(self, call: Begin[OrderToCancel]) -> BegunCancellation:
        """Make this run the current one of the cancellation, and check that the order can be cancelled (B1)."""
        key = key_of_run(call.key)
        await begin(self._database, key, lambda tx: cancellations.check(tx, call.input.order_id))
        return BegunCancellation(generation=key.generation)

    @activity.defn(name="offer-cancellation")
    async def offer(self, call: Call[OrderToCancel]) -> Nothing:
        """Ask the admins whether to take back an order that the shop has cancelled, once per wait (N1).

        An alert that cannot be sent stops nothing: the process is in the list of what waits.
        """
        question = Alert(
            kind=OFFER,
            key=f"{OFFER}/{call.input.order_id}",
            message="The shop has cancelled an order that is fulfilled here",
            order_id=call.input.order_id,
        )
        await ask_admins(self._database, self._notifier, self._watched(MailServerDown.service), call.key, question)
        return Nothing()

    @activity.defn(name="mark-cancelling")
    async def mark(self, call: Call[OrderToCancel]) -> MarkedOrder:
        """Let no run process the order any more, and list what is to be taken back (B2)."""
        order_id, generation = call.input.order_id, call.key.generation
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, MarkedOrder, lambda: cancellations.mark(tx, order_id, generation))

    @activity.defn(name="check-parcels")
    async def check_parcels(self, call: Call[Parcels]) -> Nothing:
        """Ask the carrier whether it has a parcel of the order (B3)."""
        async with self._watched():
            for label in call.input.labels:
                state = await self._carrier_of(label).look_up(label.shipment_id)
                if state is not None and state.refund in ("requested", "made"):
                    continue
                if state is None or state.handed_over is None:  # it may even be a label of another carrier
                    raise ParcelUnknown(call.input.order_id)
                if state.handed_over:
                    raise ParcelHandedOver(call.input.order_id)
        return Nothing()

    @activity.defn(name="void-label")
    async def void_label(self, call: Call[LabelToVoid]) -> VoidedLabel:
        """Return a label to the carrier, and ask whether it has refunded it (B3)."""
        label = call.input.label
        async with self._watched():
            carrier = self._carrier_of(label)
            state = await carrier.look_up(label.shipment_id)
            if state is None:
                return VoidedLabel(refund="none")
            if state.refund == "refused":  # it was requested before
                raise LabelNotRefunded(call.input.order_id)
            if state.refund == "none":
                await carrier.refund(label.shipment_id)
                state = await carrier.look_up(label.shipment_id)
        if state is None or state.refund == "none":
            raise CarrierUnavailable("the refund of the label does not show yet")
        if state.refund == "refused":
            raise LabelNotRefunded(call.input.order_id)
        return VoidedLabel(refund=state.refund)

    @activity.defn(name="restock-order")
    async def restock(self, call: Call[OrderToCancel]) -> Restocked:
        """Put back the goods that the order still holds (B4)."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, Restocked, lambda: cancellations.restock(tx, call.input.order_id))

    @activity.defn(name="complete-cancellation")
    async def complete(self, call: Call[OrderToCancel]) -> CancelledOrder:
        """Final step: mark the order as cancelled, write its event, queue the customer's mail (B6)."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx, call, CancelledOrder, lambda: cancellations.complete(tx, call.input.order_id), final=True
            )

    @activity.defn(name="keep-order")
    async def keep(self, call: Call[OrderToCancel]) -> KeptOrder:
        """Leave the order as it was, if nothing of it was taken back and no label was returned."""
        order_id = call.input.order_id
        async with self._database.transaction() as tx:
            labels = await cancellations.bought_labels(tx, order_id)
        async with self._watched():
            for label in labels:
                state = await self._carrier_of(label).look_up(label.shipment_id)
                if state and state.refund in ("requested", "made"):
                    return KeptOrder(kept=False)
        with suppress(StaleGeneration):  # a newer run decides about the order
            kept = await begin(self._database, call.key, lambda tx: cancellations.keep(tx, order_id))
            return KeptOrder(kept=kept)
        return KeptOrder(kept=False)

    def _carrier_of(self, label: BoughtLabel) -> Carrier:
        name = label.carrier or self._carrier
        try:
            return self._carriers[name]
        except KeyError:
            raise CarrierUnknown(name) from None

    def _watched(self, service: str = CarrierDown.service) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(service) if self._outages else nullcontext()
