"""Return all that the shop has stored about a person, for the person (A7). Hashes of passwords are left out."""

import json
from typing import Any

from pydantic_core import to_jsonable_python
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.erasure import find_bodies
from commerce.errors import CustomerNotFound
from commerce.messages.cancellations import processes_of
from commerce.messages.customers import REGISTRATION_ID_PREFIX
from commerce.messages.forgetting import FORGET_ID_PREFIX
from commerce.messages.returns import return_process_id
from commerce.transaction import digests_of

CUSTOMER = text("""
    SELECT to_jsonb(customers) - 'registered_by' AS row, CAST(id AS text) AS id, registered_by
    FROM customers WHERE email = :email
""")
LOGINS = text("""
    SELECT to_jsonb(auth_users) - 'password_hash' FROM auth_users WHERE customer_id = CAST(:customer_id AS uuid)
""")
GROUPS = text("""
    SELECT to_jsonb(name) FROM customer_groups JOIN customer_group_members ON group_id = customer_groups.id
    WHERE customer_id = CAST(:customer_id AS uuid) ORDER BY name
""")
# Null columns say nothing; the others that are left out are about the processing alone.
ORDERS = text("""
    SELECT id, jsonb_strip_nulls(to_jsonb(orders) - ARRAY['content_hash', 'name_key', 'held_by', 'decisive_revision'])
        || jsonb_build_object(
            'lines', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'sku', sku, 'title', title, 'quantity', quantity, 'unit_price', unit_price) ORDER BY position
                      ), '[]') FROM order_lines WHERE order_id = orders.id),
            'fulfillments', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'created_at', created_at, 'carrier', carrier, 'tracking_number', tracking_number,
                          'label_url', label_url) ORDER BY fulfillments.created_at), '[]')
                      FROM fulfillments WHERE order_id = orders.id AND cancelled_at IS NULL),
            'returns', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                          'created_at', created_at, 'received_at', received_at, 'carrier', carrier,
                          'tracking_number', tracking_number, 'label_url', label_url) ORDER BY created_at), '[]')
                      FROM order_returns WHERE order_id = orders.id)) AS row
    FROM orders WHERE customer_id = CAST(:customer_id AS uuid) OR email = :email ORDER BY created_at, id
""")
CARTS = text("""
    SELECT to_jsonb(carts) - 'content_hash' || jsonb_build_object(
        'lines', (SELECT coalesce(jsonb_agg(jsonb_build_object(
                      'sku', sku, 'quantity', quantity, 'unit_price', unit_price) ORDER BY id), '[]')
                  FROM cart_lines WHERE cart_id = carts.id))
    FROM carts WHERE email = :email ORDER BY created_at, id
""")
MAILS = text("""
    SELECT jsonb_build_object('kind', kind, 'recipient', recipient, 'order_id', order_id, 'data', data,
                              'status', status, 'created_at', created_at, 'sent_at', sent_at)
    FROM notifications WHERE recipient = :email OR order_id = ANY(CAST(:orders AS text[])) ORDER BY created_at, key
""")
REASONS = text("""
    SELECT row FROM (
        SELECT created_at AS at, jsonb_build_object('process', process_id, 'action', action, 'reason', reason,
                                                    'created_at', created_at) AS row
        FROM operator_actions WHERE process_id = ANY(CAST(:processes AS text[])) AND reason <> ''
        UNION ALL
        SELECT answered_at, jsonb_build_object('process', business_key, 'action', 'answer ' || step, 'reason', reason,
                                               'created_at', answered_at)
        FROM step_waits WHERE business_key = ANY(CAST(:processes AS text[])) AND reason <> ''
    ) AS noted ORDER BY at
""")
RETURNS = text("SELECT id FROM order_returns WHERE order_id = ANY(CAST(:orders AS text[]))")
PREFIXES = (REGISTRATION_ID_PREFIX, FORGET_ID_PREFIX)


async def export(tx: AsyncSession, address: str) -> dict[str, Any]:
    """Return what is stored about the person with this normalised address, as JSON values by kind.

    Raises CustomerNotFound if it is nothing.
    """
    customer = (await tx.execute(CUSTOMER, {"email": address})).one_or_none()
    person = {"customer_id": customer.id if customer else None, "email": address}
    orders = (await tx.execute(ORDERS, person)).all()
    processes = [
        *(process_id for prefix in PREFIXES for process_id in digests_of(tx).process_ids(prefix, address)),
        *([customer.registered_by] if customer and customer.registered_by else []),
        *(process_id for row in orders for process_id in processes_of(row.id)),
        *(return_process_id(each) for each in await tx.scalars(RETURNS, {"orders": [row.id for row in orders]})),
    ]
    found: dict[str, Any] = {
        "customer": customer.row if customer else None,
        "logins": list(await tx.scalars(LOGINS, person)),
        "groups": list(await tx.scalars(GROUPS, person)),
        "orders": [row.row for row in orders],
        "carts": list(await tx.scalars(CARTS, person)),
        "mails": list(await tx.scalars(MAILS, person | {"orders": [row.id for row in orders]})),
        "reasons": list(await tx.scalars(REASONS, {"processes": processes})),
        "webhooks": [
            {"platform": row.platform, "received_at": row.received_at, "body": _json(row.body)}
            async for row in find_bodies(tx, address)
        ],
    }
    if not any(found.values()):
        raise CustomerNotFound
    exported: dict[str, Any] = to_jsonable_python({"email": address} | found)
    return exported


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")
