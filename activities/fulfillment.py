"""Activities that take goods off the shelves and buy shipping labels."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.labels import LabelPurchase
from activities.boundary.outages import OutageAlerts
from commerce import fulfillment, ledger, shipments
from commerce.database import Database
from commerce.errors import CarrierDown
from commerce.integrations.carrier import Carrier
from commerce.messages.base import Nothing
from commerce.messages.orders import CreatedFulfillment, FulfillmentRequest, Label, LabelRequest, OrderRef
from commerce.messages.steps import Call
from commerce.shipments import Shipment


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


class _ShippingLabel(LabelPurchase[LabelRequest]):
    async def read(self, tx: AsyncSession, request: LabelRequest) -> Shipment:
        """Return the shipment, unless the order has changed: no label is bought for an older address."""
        return await shipments.load(tx, request)

    async def record(self, tx: AsyncSession, request: LabelRequest, label: Label) -> None:
        """Store the label on the fulfillment."""
        await shipments.record_label(tx, request, label)
