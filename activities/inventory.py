"""Activities that check, reserve and release stock."""

from temporalio import activity

from commerce import inventory, ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.orders import OrderRef, Reserved
from commerce.messages.steps import Call


class InventoryActivities:
    """Reserve stock for orders, and release it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="check-inventory")
    async def check(self, call: Call[OrderRef]) -> Nothing:
        """Check that there is stock for all lines together, without reserving any."""
        async with self._database.transaction() as tx:
            await inventory.check(tx, call.input.order_id)
        return Nothing()

    @activity.defn(name="reserve-inventory")
    async def reserve(self, call: Call[OrderRef]) -> Reserved:
        """Reserve stock for all lines of the order, or for none."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, Reserved, lambda: inventory.reserve(tx, call.input.order_id))

    @activity.defn(name="release-inventory")
    async def release(self, call: Call[OrderRef]) -> Nothing:
        """Release all reservations of the order."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Reserved, lambda _: inventory.release(tx, call.input.order_id))
