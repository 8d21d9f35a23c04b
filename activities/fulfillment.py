"""Steps that take goods from the shelf and put a label on them."""

import asyncio
from datetime import timedelta

from temporalio import activity

from commerce import fulfillment, ledger
from commerce.database import Database
from commerce.errors import CarrierRefused, StepInProgress, StepWithdrawn
from commerce.integrations.carrier import Carrier
from commerce.messages.base import Nothing
from commerce.messages.orders import CreatedFulfillment, Label, OrderRef
from commerce.messages.steps import Call

LEASE = timedelta(seconds=25)  # one attempt at the carrier, shorter than the step's start-to-close time
SETTLE = timedelta(seconds=30)  # the carrier may sell so long after we stopped waiting for its answer


class FulfillmentActivities:
    """Fulfill an order from its reservation, and buy its shipping label."""

    def __init__(self, database: Database, carrier: Carrier) -> None:
        self._database = database
        self._carrier = carrier

    @activity.defn(name="create-fulfillment")
    async def create(self, call: Call[OrderRef]) -> CreatedFulfillment:
        """Take the reserved units off the shelves."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, CreatedFulfillment, lambda: fulfillment.create(tx, call.input.order_id))

    @activity.defn(name="cancel-fulfillment")
    async def cancel(self, call: Call[OrderRef]) -> Nothing:
        """Put the units back and hold them again."""
        order_id = call.input.order_id
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, CreatedFulfillment, lambda made: fulfillment.cancel(tx, made, order_id))

    @activity.defn(name="create-shipping-label")
    async def create_label(self, call: Call[OrderRef]) -> Label:
        """Buy one shipping label, however often this is tried."""
        async with self._database.transaction() as tx:
            entry = await ledger.start(tx, call, LEASE)
            shipment = await fulfillment.shipment(tx, call.input.order_id)
        if entry.result is not None:
            return Label.model_validate(entry.result)
        settle = None
        try:
            async with asyncio.timeout(LEASE.total_seconds()):
                shipment_id = (entry.note or {}).get("shipment_id") or await self._create_shipment(call, shipment)
                settle = SETTLE
                label = await self._carrier.buy(shipment_id)
                settle = None
                return await self._record(call, label)
        except CarrierRefused:
            settle = None
            raise
        finally:
            async with self._database.transaction() as tx:
                await ledger.release(tx, call.key, entry.lease, settle)

    async def _create_shipment(self, call: Call[OrderRef], shipment: fulfillment.Shipment) -> str:
        """Create a shipment, which costs nothing, and keep its id before anything is bought for it."""
        created = await self._carrier.create(shipment, reference=str(call.key))
        async with self._database.transaction() as tx:
            kept: str = (await ledger.note(tx, call.key, {"shipment_id": created}))["shipment_id"]
        return kept

    async def _record(self, call: Call[OrderRef], label: Label) -> Label:
        """Store the bought label, unless the step was undone meanwhile: then give it back at once."""
        try:
            async with self._database.transaction() as tx:
                if await ledger.finish(tx, call.key, label):
                    await fulfillment.record_label(tx, call.input.order_id, label)
        except StepWithdrawn:
            await self._carrier.refund(label.shipment_id)
            raise
        return label

    @activity.defn(name="void-shipping-label")
    async def void_label(self, call: Call[OrderRef]) -> Nothing:
        """Give the label back, if one was bought."""
        async with self._database.transaction() as tx:
            entry = await ledger.withdraw(tx, call, SETTLE)
        if entry.leased:  # the tombstone is set, so nothing new begins; what is under way ends with its lease
            raise StepInProgress(call.key.step)
        if entry.state != "undone" and (shipment_id := (entry.note or {}).get("shipment_id")):
            known = await self._carrier.refund(shipment_id)
            if entry.unsettled and not known:  # nothing to give back yet, but a late sale would stay for ever
                raise StepInProgress(call.key.step)
        async with self._database.transaction() as tx:
            await ledger.finish_undo(tx, call.key)
        return Nothing()
