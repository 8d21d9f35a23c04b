"""The activity that counts products."""

from temporalio import activity

from commerce import products
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.steps import Call
from commerce.messages.tutorial import ProductCount


class ProductActivities:
    """Read the products of the shop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="get-product-count")
    async def count(self, _call: Call[Nothing]) -> ProductCount:
        """Count the products of the shop."""
        async with self._database.transaction() as tx:
            return await products.count(tx)
