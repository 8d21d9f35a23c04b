"""The demo's customers: guests of the sample shop register and keep the orders they placed before."""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import text
from temporalio.client import Client

from commerce.database import Database
from commerce.errors import BadInput, CustomerAlreadyExists
from starter.client import register_customer

COUNT = 24
SHORT_PASSWORD = "1234567"  # noqa: S105 - must be refused

GUESTS = text("""
    SELECT email, min(shipping_name) AS name FROM orders
    WHERE id = ANY(CAST(:order_ids AS text[])) AND email IS NOT NULL AND shipping_name LIKE '% %'
    GROUP BY email ORDER BY email LIMIT :count
""")
KEPT = text("""
    SELECT count(*) FROM orders JOIN customers ON customers.id = customer_id
    WHERE has_account AND orders.id = ANY(CAST(:order_ids AS text[]))
""")


@dataclass(frozen=True)
class Registrations:
    """How the registrations ended."""

    registered: int
    known: int  # from an earlier demo
    orders: int  # that belong to accounts
    refused: str  # the answer to a password that is too short


async def register(
    database: Database, client: Client, order_ids: Sequence[str], say: Callable[[str], None]
) -> Registrations:
    """Register guests of these orders in parallel, and try one with too short a password.

    Raises Unreachable, DatabaseUnavailable, and whatever else stops a registration.
    """
    async with database.transaction() as tx:
        guests = (await tx.execute(GUESTS, {"order_ids": list(order_ids), "count": COUNT})).all()
    say(f"{len(guests)} guests register")
    new = await asyncio.gather(*(_register(client, guest.email, guest.name) for guest in guests))
    async with database.transaction() as tx:
        kept = (await tx.execute(KEPT, {"order_ids": list(order_ids)})).scalar_one()
    return Registrations(sum(new), len(new) - sum(new), kept, await _refusal(client))


async def _register(client: Client, email: str, name: str) -> bool:
    """Register one guest; False if an earlier demo has done so."""
    first, last = name.split(" ", 1)
    try:
        await register_customer(client, email=email, password=secrets.token_urlsafe(), first_name=first, last_name=last)
    except CustomerAlreadyExists:
        return False
    return True


async def _refusal(client: Client) -> str:
    try:
        await register_customer(
            client, email="short@customer.example", password=SHORT_PASSWORD, first_name="Short", last_name="Password"
        )
    except BadInput as refused:
        return "; ".join(f"{problem.field} {problem.message}" for problem in refused.fields)
    raise AssertionError("a password of seven characters was accepted")
