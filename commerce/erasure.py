"""Erase a person from all tables (A7). What figures need stays: ids, amounts, times, countries and provinces."""

import json
from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import forgotten, outbox
from commerce.confirmations import ADDRESS_PART
from commerce.email_addresses import normalise_address
from commerce.errors import AddressKeyMissing, CustomerHasOpenOrders, CustomerNotFound
from commerce.forgotten import BILLING, HASH, PERSONAL
from commerce.messages.cancellations import cancel_process_id, processes_of
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.events import CustomerForgotten
from commerce.messages.forgetting import Forgotten
from commerce.messages.returns import return_process_id
from commerce.open_orders import IS_OPEN
from commerce.outbox import NewEvent
from commerce.transaction import digests_of

MAX_LISTED = 10  # open orders in an error
KEPT_BODIES = 50  # webhooks of shops that are searched at once

# A mail to a customer. Alerts have a severity; they hold nothing personal, and neither does the report.
TO_CUSTOMER = "NOT data ? 'severity' AND kind <> 'daily-report'"
# Paid or to be paid, and not sent yet, here or in the shop that it comes from; or a process holds something for it, or
# takes it back.
UNFINISHED = f"""({IS_OPEN}
    OR orders.cancellation = 'cancelling'
    OR orders.cancelled_at IS NULL
       AND orders.payment_status IN ('authorized', 'captured', 'partially_captured', 'partially_refunded')
       AND orders.fulfillment_status IN ('not_fulfilled', 'partially_fulfilled', 'scheduled', 'on_hold')
    OR orders.cancellation = 'cancelling'
    OR EXISTS (SELECT FROM step_waits WHERE business_key = '{cancel_process_id("")}' || orders.id AND kind IS NULL)
    OR EXISTS (SELECT FROM order_returns WHERE order_id = orders.id AND state IN ('open', 'received'))
    OR EXISTS (SELECT FROM reservations WHERE order_id = orders.id)
    OR orders.fulfillment_status NOT IN ('fulfilled', 'fulfilled_elsewhere')
       AND EXISTS (SELECT FROM fulfillments WHERE order_id = orders.id AND fulfillments.cancelled_at IS NULL))"""  # noqa: S608 - our own constant
CUSTOMER = text("SELECT CAST(id AS text), registered_by FROM customers WHERE email = :email")
LOCK_CUSTOMER = text("SELECT CAST(id AS text), registered_by FROM customers WHERE email = :email FOR UPDATE")
THEIRS = "(customer_id = CAST(:customer_id AS uuid) OR email = :email)"
OPEN_ORDERS = text(f"SELECT id FROM orders WHERE {THEIRS} AND {UNFINISHED} ORDER BY created_at, id")  # noqa: S608
LOCK_ORDERS = text(f"SELECT id FROM orders WHERE {THEIRS} ORDER BY id FOR UPDATE")  # noqa: S608 - our own constant
IS_KNOWN = text(f"""
    SELECT EXISTS (SELECT FROM orders WHERE email = :email) OR EXISTS (SELECT FROM carts WHERE email = :email)
        OR EXISTS (SELECT FROM notifications WHERE recipient = :email AND {TO_CUSTOMER})
""")  # noqa: S608 - our own constant
# Registrations that wait until their address is proven have longer ids.
REGISTRATIONS = text(f"""
    SELECT business_key FROM process_generations WHERE left(business_key, {ADDRESS_PART}) = ANY(CAST(:ids AS text[]))
    UNION
    SELECT process_id FROM pending_registrations WHERE left(process_id, {ADDRESS_PART}) = ANY(CAST(:ids AS text[]))
""")  # noqa: S608 - our own constant
# Steps of a registration share the row of its generation, so this waits for one under way; later ones are refused.
END_PROCESSES = text("DELETE FROM process_generations WHERE business_key = ANY(CAST(:keys AS text[]))")
DELETE_STEPS = text("DELETE FROM step_ledger WHERE business_key = ANY(CAST(:keys AS text[]))")
DELETE_WAITS = text("DELETE FROM step_waits WHERE business_key = ANY(CAST(:keys AS text[]))")
DELETE_PENDING = text("DELETE FROM pending_registrations WHERE process_id = ANY(CAST(:keys AS text[]))")
ERASE_REASONS = text("UPDATE operator_actions SET reason = '' WHERE process_id = ANY(CAST(:keys AS text[]))")
DELETE_LOGIN = text("DELETE FROM auth_users WHERE customer_id = CAST(:customer_id AS uuid)")
LEAVE_GROUPS = text("DELETE FROM customer_group_members WHERE customer_id = CAST(:customer_id AS uuid)")
# The row stays without its person, because days count their new and returning customers by it.
ERASE_CUSTOMER = text("""
    UPDATE customers SET email = NULL, first_name = NULL, last_name = NULL, has_account = false, registered_by = NULL
    WHERE id = CAST(:customer_id AS uuid)
""")
ERASE_ORDERS = text(f"""
    WITH erased AS (
        UPDATE orders
        SET {", ".join(f"{name} = NULL" for name in PERSONAL if name not in BILLING)},
            {", ".join(f"{name} = CASE WHEN is_recent THEN {name} END" for name in BILLING)},
            corrections = NULL, content_hash = '{HASH}', forgotten_at = coalesce(forgotten_at, :at),
            keeps_invoice = is_recent
        FROM (SELECT id AS order_id, created_at > CAST(:at AS timestamptz) - make_interval(days => :keep) AS is_recent
              FROM orders WHERE id = ANY(CAST(:ids AS text[]))) AS retention
        WHERE id = order_id RETURNING keeps_invoice
    )
    SELECT count(*) FILTER (WHERE keeps_invoice) FROM erased
""")  # noqa: S608 - our own columns
# Many carriers show where a parcel went to whoever has its number.
ERASE_PARCELS = text("""
    WITH returned AS (
        UPDATE order_returns SET label_url = NULL, tracking_number = NULL WHERE order_id = ANY(CAST(:ids AS text[]))
    )
    UPDATE fulfillments SET label_url = NULL, tracking_number = NULL WHERE order_id = ANY(CAST(:ids AS text[]))
""")
RETURNS = text("SELECT id FROM order_returns WHERE order_id = ANY(CAST(:ids AS text[]))")
# What was sent stays known as sent, so that nothing sends it again.
ERASE_MAILS = text(f"""
    WITH theirs AS (
        SELECT key, status FROM notifications
        WHERE (recipient = :email OR order_id = ANY(CAST(:ids AS text[]))) AND {TO_CUSTOMER} FOR UPDATE
    ), unsent AS (
        DELETE FROM notifications USING theirs WHERE notifications.key = theirs.key AND theirs.status <> 'sent'
    ), sent AS (
        UPDATE notifications SET recipient = '', data = '{{}}' FROM theirs
        WHERE notifications.key = theirs.key AND theirs.status = 'sent'
    )
    SELECT count(*) FROM theirs
""")  # noqa: S608 - our own constant
DELETE_CARTS = text("DELETE FROM carts WHERE email = :email RETURNING 1")
NEXT_BODIES = text(f"""
    SELECT platform, delivery_id, content_hash, received_at, body FROM intake_deliveries
    WHERE body IS NOT NULL
      AND (platform, delivery_id, content_hash) > (:platform, :delivery_id, :content_hash)
    ORDER BY platform, delivery_id, content_hash LIMIT {KEPT_BODIES}
""")  # noqa: S608 - our own constant
DELETE_BODY = text("""
    UPDATE intake_deliveries SET body = NULL
    WHERE platform = :platform AND delivery_id = :delivery_id AND content_hash = :content_hash
      AND status = 'unusable'
""")


async def find(tx: AsyncSession, address: str) -> str | None:
    """Return the id of the customer with this normalised address, if there is one, and check that all can be erased.

    Raises AddressKeyMissing, CustomerNotFound if nothing is stored about the address nor was it forgotten, and
    CustomerHasOpenOrders.
    """
    if not digests_of(tx).has_key:
        raise AddressKeyMissing
    customer = (await tx.execute(CUSTOMER, {"email": address})).one_or_none()
    customer_id: str | None = customer.id if customer else None
    if customer is None and not await tx.scalar(IS_KNOWN, {"email": address}):
        if await forgotten.find(tx, address) is None:
            raise CustomerNotFound
        return None
    await _raise_if_open(tx, {"customer_id": customer_id, "email": address})
    return customer_id


async def erase(tx: AsyncSession, address: str, *, keep_invoices: int) -> Forgotten:
    """Erase the person with this normalised address, and remember that they were forgotten.

    `keep_invoices`: for how many days after an order its billing name and address are kept. Erasing again erases what
    was stored since. Raises AddressKeyMissing and CustomerHasOpenOrders.
    """
    if not digests_of(tx).has_key:
        raise AddressKeyMissing
    await forgotten.lock(tx, address)
    registrations = digests_of(tx).process_ids(REGISTRATION_ID_PREFIX, address)
    registrations += await tx.scalars(REGISTRATIONS, {"ids": registrations})
    await tx.execute(END_PROCESSES, {"keys": registrations})
    customer = (await tx.execute(LOCK_CUSTOMER, {"email": address})).one_or_none()
    person = {"customer_id": customer.id if customer else None, "email": address}
    ids = list(await tx.scalars(LOCK_ORDERS, person))
    await _raise_if_open(tx, person)
    registered_by = [customer.registered_by] if customer and customer.registered_by else []
    of_orders = [process_id for order_id in ids for process_id in processes_of(order_id)]
    of_orders += [return_process_id(return_id) for return_id in await tx.scalars(RETURNS, {"ids": ids})]
    await _erase_processes(tx, [*registrations, *registered_by, *of_orders])
    at = await forgotten.add(tx, address)
    for statement in (DELETE_LOGIN, LEAVE_GROUPS, ERASE_CUSTOMER):
        await tx.execute(statement, person)
    invoices = await tx.scalar(ERASE_ORDERS, {"ids": ids, "at": at, "keep": keep_invoices})
    await tx.execute(ERASE_PARCELS, {"ids": ids})
    mails = await tx.scalar(ERASE_MAILS, person | {"ids": ids})
    carts = len((await tx.execute(DELETE_CARTS, person)).all())
    await _erase_bodies(tx, address)
    if customer:
        fact = CustomerForgotten(customer_id=customer.id, forgotten_at=at)
        await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"customer/{customer.id}", key=customer.id))
    return Forgotten(
        customer_id=person["customer_id"],
        forgotten_at=at,
        orders=len(ids),
        invoices_kept=invoices,
        carts=carts,
        mails=mails,
    )


async def find_bodies(tx: AsyncSession, address: str) -> AsyncIterator[Row[Any]]:
    """Yield the kept webhooks of shops whose body has this normalised address."""
    key = {"platform": "", "delivery_id": "", "content_hash": ""}
    while rows := (await tx.execute(NEXT_BODIES, key)).all():
        key = {name: getattr(rows[-1], name) for name in key}
        for row in rows:
            if mentions(row.body, address):
                yield row


def mentions(body: bytes, address: str) -> bool:
    """Return whether a webhook's body holds this normalised address, in whichever case, or escaped as JSON allows."""
    try:
        return any(normalise_address(text) == address for text in _texts(json.loads(body)) if "@" in text)
    except (ValueError, RecursionError):
        return address in body.decode("utf-8", "replace").lower()


async def _raise_if_open(tx: AsyncSession, person: Mapping[str, Any]) -> None:
    if found := list(await tx.scalars(OPEN_ORDERS, person)):
        raise CustomerHasOpenOrders(found[:MAX_LISTED], len(found))


async def _erase_processes(tx: AsyncSession, keys: Collection[str]) -> None:
    """Delete what the engine has of these processes. Those of orders have ended: nothing is left to undo."""
    for statement in (END_PROCESSES, DELETE_STEPS, DELETE_WAITS, DELETE_PENDING, ERASE_REASONS):
        await tx.execute(statement, {"keys": sorted(set(keys))})


async def _erase_bodies(tx: AsyncSession, address: str) -> None:
    """Delete the bodies of unusable webhooks with this address. One that still waits loses it when it is taken."""
    async for row in find_bodies(tx, address):
        await tx.execute(DELETE_BODY, row._asdict())


def _texts(value: Any) -> list[str]:
    """Return all strings in a JSON value."""
    found: list[str] = []
    left = [value]
    while left:
        match left.pop():
            case str() as text_found:
                found.append(text_found)
            case list() as items:
                left.extend(items)
            case dict() as members:
                left.extend(members.values())
    return found
