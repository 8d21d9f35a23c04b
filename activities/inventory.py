"""Steps on stock."""

from temporalio import activity

from commerce import inventory, ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.orders import OrderRef, Reserved
from commerce.messages.steps import Call


class InventoryActivities:
    """Hold stock for orders, and let it go."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="check-inventory")
    async def check(self, call: Call[OrderRef]) -> Nothing:
        """See whether stock suffices for every line together; holds nothing."""
        async with self._database.transaction() as tx:
            await inventory.check(tx, call.input.order_id)
        return Nothing()

    @activity.defn(name="reserve-inventory")
    async def reserve(self, call: Call[OrderRef]) -> Reserved:
        """Hold every line of the order, or none; asking twice holds once."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, Reserved, lambda: inventory.reserve(tx, call.input.order_id))

    @activity.defn(name="release-inventory")
    async def release(self, call: Call[OrderRef]) -> Nothing:
        """Let go of what the order holds."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, Reserved, lambda _: inventory.release(tx, call.input.order_id))
