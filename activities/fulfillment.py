"""Activities that take goods off the shelves and buy shipping labels."""

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from commerce import fulfillment, ledger
from commerce.database import Database
from commerce.external_steps import ExternalEffect
from commerce.fulfillment import Shipment
from commerce.integrations.carrier import Carrier
from commerce.messages.base import Message, Nothing
from commerce.messages.orders import CreatedFulfillment, Label, OrderRef
from commerce.messages.steps import Call

LEASE = timedelta(seconds=25)  # shorter than the start-to-close timeout of the step
MAX_DELAY = timedelta(seconds=30)  # the carrier may still sell a label for this long after we stopped waiting


class FulfillmentActivities:
    """Fulfill an order from its reservations, and buy its shipping label."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._label = _ShippingLabel(database, carrier)

    @activity.defn(name="create-fulfillment")
    async def create(self, call: Call[OrderRef]) -> CreatedFulfillment:
        """Take the reserved units off the shelves."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, CreatedFulfillment, lambda: fulfillment.create(tx, call.input.order_id))

    @activity.defn(name="cancel-fulfillment")
    async def cancel(self, call: Call[OrderRef]) -> Nothing:
        """Put the units back on the shelves and reserve them again."""
        order_id = call.input.order_id
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, CreatedFulfillment, lambda made: fulfillment.cancel(tx, made, order_id))

    @activity.defn(name="create-shipping-label")
    async def create_label(self, call: Call[OrderRef]) -> Label:
        """Buy one shipping label, however often this is tried (V6)."""
        return await self._label.do(call)

    @activity.defn(name="void-shipping-label")
    async def void_label(self, call: Call[OrderRef]) -> Nothing:
        """Refund the label, if one was bought."""
        return await self._label.undo(call)


class _ShipmentNote(Message):
    """What the ledger notes before a label is bought."""

    shipment_id: str


class _ShippingLabel(ExternalEffect[OrderRef, Shipment, _ShipmentNote, Label]):
    def __init__(self, database: Database, carrier: Carrier) -> None:
        super().__init__(database, note=_ShipmentNote, result=Label, lease=LEASE, max_delay=MAX_DELAY)
        self._carrier = carrier

    async def read(self, tx: AsyncSession, order: OrderRef) -> Shipment:
        """Return the shipment of the order."""
        return await fulfillment.shipment(tx, order.order_id)

    async def prepare(self, shipment: Shipment, reference: str) -> _ShipmentNote:
        """Create the shipment at the carrier, which costs nothing."""
        return _ShipmentNote(shipment_id=await self._carrier.create(shipment, reference))

    async def perform(self, note: _ShipmentNote) -> Label:
        """Buy its label."""
        return await self._carrier.buy(note.shipment_id)

    async def record(self, tx: AsyncSession, order: OrderRef, label: Label) -> None:
        """Store the label on the order's fulfillment."""
        await fulfillment.record_label(tx, order.order_id, label)

    async def take_back(self, note: _ShipmentNote) -> bool:
        """Refund the label."""
        return await self._carrier.refund(note.shipment_id)
