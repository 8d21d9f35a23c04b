"""The activity that deletes expired carts."""

from temporalio import activity

from commerce import carts, ledger
from commerce.database import Database
from commerce.messages.carts import ExpiryRequest, ExpiryResult
from commerce.messages.steps import Call


class CartActivities:
    """Delete abandoned carts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="delete-expired-carts")
    async def expire(self, call: Call[ExpiryRequest]) -> ExpiryResult:
        """Delete one batch of expired carts, and write an event for each (C2)."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, ExpiryResult, lambda: carts.expire(tx, call.input))
