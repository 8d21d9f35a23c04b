"""Keep forgotten customers forgotten: what other systems send of their older orders is stored without the person (A7).

The list of forgotten addresses holds digests under a key of the settings. An order from before its customer was
forgotten loses what is personal, and is marked: nothing personal is ever stored of it again. A later order is new
business with the same person, and is stored whole.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.transaction import digests_of

if TYPE_CHECKING:
    from commerce.imports.new_order import NewOrder

BILLING = ("billing_name", "billing_company", "billing_address1", "billing_address2", "billing_city", "billing_zip")
# The columns of an order that are about a person. Country and province stay: taxes and figures need them.
PERSONAL = (
    *("email", "phone", "note", "note_attributes", "tags"),
    *("shipping_name", "shipping_company", "shipping_address1", "shipping_address2"),
    *("shipping_city", "shipping_zip", "shipping_phone"),
    *BILLING,
)
HASH = "2:"  # the content hash of an order without its person: no received content has it
BATCH = 5_000  # addresses

# Who stores an address shares its lock, and who forgets the address takes it alone. An import takes the lock of all
# imports instead, because it stores too many addresses; who forgets shares that one.
SHARE_ADDRESS = text("SELECT pg_advisory_xact_lock_shared(hashtext('commerce.address'), hashtext(:email))")
LOCK_ADDRESS = text("SELECT pg_advisory_xact_lock(hashtext('commerce.address'), hashtext(:email))")
SHARE_IMPORTS = text("SELECT pg_advisory_xact_lock_shared(hashtext('commerce.imports'))")
FORGOTTEN_AT = text("SELECT max(forgotten_at) FROM forgotten_addresses WHERE digest = ANY(CAST(:digests AS text[]))")
FORGOTTEN = text("SELECT digest, forgotten_at FROM forgotten_addresses WHERE digest = ANY(CAST(:digests AS text[]))")
ANY_FORGOTTEN = text("SELECT EXISTS (SELECT FROM forgotten_addresses)")
ADD = text("""
    INSERT INTO forgotten_addresses AS known (digest, forgotten_at) VALUES (:digest, clock_timestamp())
    ON CONFLICT (digest) DO UPDATE SET forgotten_at = excluded.forgotten_at
    RETURNING forgotten_at
""")
MATCHES = """jsonb_to_recordset(CAST(:matches AS jsonb)) AS match (email text, forgotten_at timestamptz)
    WHERE staged.email = match.email AND staged.created_at <= match.forgotten_at AND state = 'new'"""
STRIP_ORDERS = text(f"""
    UPDATE staged_orders AS staged
    SET {", ".join(f"{name} = NULL" for name in PERSONAL)}, forgotten_at = match.forgotten_at, first_hash = NULL,
        content_hash = '{HASH}' || gen_random_uuid()
    FROM {MATCHES}
""")  # noqa: S608 - our own columns
# A cart is nothing without its visitor.
DROP_CARTS = text(f"UPDATE staged_carts AS staged SET state = 'known' FROM {MATCHES}")  # noqa: S608 - our own columns


async def without_person(tx: AsyncSession, order: "NewOrder") -> "NewOrder":
    """Return a received order, without its person if that was forgotten since. Call this before the first write."""
    if not order.email or not digests_of(tx).has_key:
        return order
    await tx.execute(SHARE_ADDRESS, {"email": order.email})
    forgotten_at = await find(tx, order.email)
    if forgotten_at is None or order.created_at > forgotten_at:
        return order
    nothing: dict[str, Any] = dict.fromkeys(PERSONAL)
    return replace(order, forgotten_at=forgotten_at, **nothing)


async def find(tx: AsyncSession, address: str) -> datetime | None:
    """Return when the person with this normalised address was last forgotten, or None."""
    found: datetime | None = await tx.scalar(FORGOTTEN_AT, {"digests": digests_of(tx).all("forgotten", address)})
    return found


async def lock(tx: AsyncSession, address: str) -> None:
    """Let nothing else store this address until the transaction ends; wait for what is storing it."""
    await tx.execute(LOCK_ADDRESS, {"email": address})
    await tx.execute(SHARE_IMPORTS)


async def add(tx: AsyncSession, address: str) -> datetime:
    """Remember that the person with this address was forgotten, now; there must be a key. Return this time."""
    digest = digests_of(tx).all("forgotten", address)[0]
    at: datetime = (await tx.execute(ADD, {"digest": digest})).scalar_one()
    return at


async def strip_staged_orders(session: AsyncSession) -> None:
    """Take forgotten persons out of the orders that an import has staged. It holds the lock of imports."""
    for matches in await _staged_matches(session, "staged_orders"):
        await session.execute(STRIP_ORDERS, {"matches": matches})


async def drop_staged_carts(session: AsyncSession) -> None:
    """Leave out the carts of forgotten persons that an import has staged. It holds the lock of imports."""
    for matches in await _staged_matches(session, "staged_carts"):
        await session.execute(DROP_CARTS, {"matches": matches})


def keep_forgotten(stored: Mapping[str, Any], received: Mapping[str, Any]) -> dict[str, Any]:
    """Return a received order without what would bring a forgotten person back; `stored` is the known order."""
    if stored["forgotten_at"] is None:
        return dict(received)
    return dict(received) | {name: stored[name] for name in PERSONAL}


def is_forgotten_now(stored: Mapping[str, Any], received: Mapping[str, Any]) -> bool:
    """Return whether the source has only now stated that a known order is of an address that was forgotten."""
    return stored["forgotten_at"] is None and received.get("forgotten_at") is not None


def erasure(stored: Mapping[str, Any], received: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that take the person out of such an order."""
    filled = [name for name in (*PERSONAL, "corrections") if stored[name] is not None]
    return dict.fromkeys(filled) | {"forgotten_at": received["forgotten_at"]}


async def _staged_matches(session: AsyncSession, table: str) -> list[str]:
    """Return the staged addresses that were forgotten, with that time, in batches of JSON."""
    digests = digests_of(session)
    if not digests.has_key or not await session.scalar(ANY_FORGOTTEN):
        return []
    staged = text(f"SELECT DISTINCT email FROM {table} WHERE state = 'new' AND email IS NOT NULL")  # noqa: S608
    matches: list[str] = []
    addresses = await session.stream_scalars(staged)
    async for batch in addresses.partitions(BATCH):
        by_digest = {digest: address for address in batch for digest in digests.all("forgotten", address)}
        found = (await session.execute(FORGOTTEN, {"digests": list(by_digest)})).all()
        if found:
            rows = [{"email": by_digest[row.digest], "forgotten_at": row.forgotten_at.isoformat()} for row in found]
            matches.append(json.dumps(rows))
    return matches
