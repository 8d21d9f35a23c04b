"""The seven steps of an order with the shop's own functions, one transaction each; label and mail do nothing."""

from collections.abc import Awaitable, Callable
from typing import Any

from commerce import fulfillment, inventory, orders
from commerce.database import Database

Step = Callable[[str], Awaitable[dict[str, Any]]]
POOL = 22  # connections, as many as a worker has


def steps_of(database: Database) -> dict[str, Step]:
    """Return the steps by name, in their order. They return plain JSON values, which engines can store."""

    async def validate(order_id: str) -> dict[str, Any]:
        async with database.transaction() as tx:
            return (await orders.validate(tx, order_id)).model_dump(mode="json")

    async def check(order_id: str) -> dict[str, Any]:
        async with database.transaction() as tx:
            await inventory.check(tx, order_id)
        return {}

    async def reserve(order_id: str) -> dict[str, Any]:
        async with database.transaction() as tx:
            return (await inventory.reserve(tx, order_id)).model_dump(mode="json")

    async def create(order_id: str) -> dict[str, Any]:
        async with database.transaction() as tx:
            return (await fulfillment.create(tx, order_id)).model_dump(mode="json")

    async def nothing(order_id: str) -> dict[str, Any]:
        return {}

    async def complete(order_id: str) -> dict[str, Any]:
        async with database.transaction() as tx:
            return (await orders.complete(tx, order_id)).model_dump(mode="json")

    return {
        "validate": validate,
        "check": check,
        "reserve": reserve,
        "create": create,
        "label": nothing,
        "complete": complete,
        "mail": nothing,
    }
