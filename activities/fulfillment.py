"""Activities that take goods off the shelves and buy shipping labels."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce import fulfillment, ledger, shipments
from commerce.database import Database
from commerce.errors import CarrierDown, CarrierUnknown
from commerce.external_steps import ExternalEffect
from commerce.integrations.carrier import Carrier
from commerce.messages.base import Message, Nothing
from commerce.messages.orders import CreatedFulfillment, FulfillmentRequest, Label, LabelRequest, OrderRef
from commerce.messages.steps import Call
from commerce.shipments import Shipment

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the carrier may still sell a label for this long after we stopped waiting


class FulfillmentActivities:
    """Fulfill an order from its reservations, and buy its shipping label.

    `carriers` are all carriers by name; the one named `carrier` sells new labels. `outages` alerts the admins when a
    carrier is down.
    """

    def __init__(
        self,
        database: Database,
        carriers: Mapping[str, Carrier],
        carrier: str,
        outages: OutageAlerts | None = None,
    ) -> None:
        self._database = database
        self._outages = outages
        self._label = _ShippingLabel(database, carriers, carrier)

    @activity.defn(name="create-fulfillment")
    async def create(self, call: Call[FulfillmentRequest]) -> CreatedFulfillment:
        """Take the reserved units off the shelves."""
        order_id, per_location = call.input.order_id, call.input.per_location
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx, call, CreatedFulfillment, lambda: fulfillment.create(tx, order_id, per_location=per_location)
            )

    @activity.defn(name="cancel-fulfillment")
    async def cancel(self, call: Call[OrderRef]) -> Nothing:
        """Put the units back on the shelves and reserve them again."""
        order_id = call.input.order_id
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, CreatedFulfillment, lambda made: fulfillment.cancel(tx, made, order_id))

    @activity.defn(name="cancel-fulfillments")
    async def cancel_all(self, call: Call[OrderRef]) -> Nothing:
        """Put the units back on the shelves of all locations and reserve them again.

        Workers of an older version know only `cancel-fulfillment`, and would cancel only the first one.
        """
        return await self.cancel(call)

    @activity.defn(name="create-shipping-label")
    async def create_label(self, call: Call[LabelRequest]) -> Label:
        """Buy one shipping label, however often this is tried (V6)."""
        async with self._watched():
            return await self._label.do(call)

    @activity.defn(name="void-shipping-label")
    async def void_label(self, call: Call[LabelRequest]) -> Nothing:
        """Refund the label, if one was bought."""
        async with self._watched():
            return await self._label.undo(call)

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(CarrierDown.service) if self._outages else nullcontext()


class _ShipmentNote(Message):
    """The ledger's note of a label: the shipment that it is bought for, and the carrier that has the shipment."""

    carrier: str = "easypost"  # the only carrier when notes did not name one
    shipment_id: str


class _ShippingLabel(ExternalEffect[LabelRequest, Shipment, _ShipmentNote, Label]):
    def __init__(self, database: Database, carriers: Mapping[str, Carrier], carrier: str) -> None:
        super().__init__(database, note=_ShipmentNote, result=Label, lease=LEASE, max_delay=MAX_DELAY)
        self._carriers = carriers
        self._carrier = carrier

    async def read(self, tx: AsyncSession, request: LabelRequest) -> Shipment:
        """Return the shipment, unless the order has changed: no label is bought for an older address."""
        return await shipments.load(tx, request)

    async def prepare(self, shipment: Shipment, reference: str) -> _ShipmentNote:
        """Register the shipment at the carrier for new labels."""
        shipment_id = await self._carriers[self._carrier].create(shipment, reference)
        return _ShipmentNote(carrier=self._carrier, shipment_id=shipment_id)

    async def perform(self, note: _ShipmentNote) -> Label:
        """Buy the label."""
        return await self._carrier_of(note).buy(note.shipment_id)

    async def record(self, tx: AsyncSession, request: LabelRequest, label: Label) -> None:
        """Store the label on the fulfillment."""
        await shipments.record_label(tx, request, label)

    async def take_back(self, note: _ShipmentNote) -> bool:
        """Refund the label, at the carrier that sold it."""
        return await self._carrier_of(note).refund(note.shipment_id)

    def _carrier_of(self, note: _ShipmentNote) -> Carrier:
        try:
            return self._carriers[note.carrier]
        except KeyError:
            raise CarrierUnknown(note.carrier) from None
