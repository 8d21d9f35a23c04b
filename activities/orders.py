"""Steps on the order itself."""

from zoneinfo import ZoneInfo

from temporalio import activity

from commerce import ledger, orders
from commerce.database import Database
from commerce.errors import OrderNotFound
from commerce.messages.base import Nothing
from commerce.messages.orders import EarlierFulfillment, Hold, OrderRef, OrderStart, Refusal, Refused, ValidOrder
from commerce.messages.pending_orders import PendingIds, PendingPage
from commerce.messages.steps import Begin, Call


class OrderActivities:
    """Accept an order, complete it, refuse it, or hold it for a person to look at."""

    def __init__(self, database: Database, zone: ZoneInfo) -> None:
        self._database = database
        self._zone = zone

    @activity.defn(name="validate-order")
    async def validate(self, call: Begin[OrderStart]) -> ValidOrder:
        """Check that the order can be processed, and make this run the one that may."""
        order_id = call.input.order_id
        async with self._database.transaction() as tx:
            # Locks the generation before the order, as every step does; stays, also when the order is refused.
            leftovers = await ledger.begin(tx, call)
            if not await orders.lock(tx, order_id):
                raise OrderNotFound(order_id)
        if leftovers:
            return ValidOrder(order_id=order_id, leftovers=leftovers)
        async with self._database.transaction() as tx:
            if call.input.unless_held:
                await orders.must_be_free(tx, order_id)
            await orders.clear_hold(tx, order_id)
            return await orders.validate(tx, order_id)

    @activity.defn(name="list-pending-orders")
    async def list_pending(self, call: Call[PendingPage]) -> PendingIds:
        """Look up the next orders that are paid, open, not on hold, and not waiting for stock."""
        async with self._database.transaction() as tx:
            return await orders.list_pending(tx, call.input)

    @activity.defn(name="complete-order")
    async def complete(self, call: Call[OrderRef]) -> EarlierFulfillment:
        """Make the order fulfilled, publish it and queue the customer's mail: the point of no return."""
        async with self._database.transaction() as tx:
            return await ledger.once(
                tx, call, EarlierFulfillment, lambda: orders.complete(tx, call.input.order_id), final=True
            )

    @activity.defn(name="record-refusal")
    async def refuse(self, call: Call[Refusal]) -> Refused:
        """Record and publish that stock was too short, once per order and day."""
        day = call.input.at.astimezone(self._zone).date()
        async with self._database.transaction() as tx:
            await orders.refuse(tx, call.input, day)
        return Refused(day=day)

    @activity.defn(name="hold-order")
    async def hold(self, call: Call[Hold]) -> Nothing:
        """Keep the pending-orders job away from an order that needs a person."""
        async with self._database.transaction() as tx:
            await orders.hold(tx, call.input)
        return Nothing()
