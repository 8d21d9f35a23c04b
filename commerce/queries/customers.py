"""Lists of customers, and one in full."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce.email_addresses import normalise_address
from commerce.errors import BadInput, CustomerNotFound
from commerce.messages.base import FieldError
from commerce.messages.customer_views import CustomerPage, CustomerSummary, CustomerView
from commerce.messages.order_views import OrderSummary
from commerce.queries.masking import mask_address, mask_name
from commerce.queries.orders import SUMMARY as ORDER_SUMMARY

MAX_PAGE = 200
MAX_ORDERS = 1_000  # counted per customer
LAST_ORDERS = 20  # of a customer in full
SUMMARY = f"""
    CAST(customer.id AS text) AS customer_id, customer.email, has_account, customer.created_at, registered_at,
    coalesce(nullif(concat_ws(' ', first_name, last_name), ''),
             (SELECT coalesce(nullif(btrim(billing_name), ''), shipping_name) FROM orders
              WHERE customer_id = customer.id ORDER BY orders.created_at DESC LIMIT 1)) AS name,
    (SELECT count(*) FROM (SELECT FROM orders WHERE customer_id = customer.id LIMIT {MAX_ORDERS}) AS counted) AS orders,
    (SELECT max(orders.created_at) FROM orders WHERE customer_id = customer.id) AS last_order_at
"""  # noqa: S608 - our own constants
NEWEST = text(f"""
    SELECT {SUMMARY} FROM customers AS customer
    WHERE (customer.created_at, customer.id)
          < (coalesce(CAST(:before AS timestamptz), 'infinity'), CAST(:before_id AS uuid))
    ORDER BY customer.created_at DESC, customer.id DESC LIMIT :limit
""")  # noqa: S608 - our own constants
# These operators compare bytes, as the index does, whatever the collation of the database is.
BY_ADDRESS = text(f"""
    SELECT {SUMMARY} FROM customers AS customer
    WHERE customer.email ~>=~ :search AND customer.email ~<~ :end AND customer.email ~>~ :after
    ORDER BY customer.email USING ~<~ LIMIT :limit
""")  # noqa: S608 - our own constants
PLACE = text("SELECT created_at, id, email FROM customers WHERE id = CAST(:id AS uuid)")
FIND = text(f"""
    SELECT {SUMMARY} FROM customers AS customer
    WHERE customer.id = CAST(:id AS uuid) OR customer.email = :email
""")  # noqa: S608 - our own constants
GROUPS = text("""
    SELECT name FROM customer_groups JOIN customer_group_members ON group_id = customer_groups.id
    WHERE customer_id = CAST(:id AS uuid) ORDER BY name
""")
ORDERS = text(f"""
    SELECT {ORDER_SUMMARY} FROM orders WHERE customer_id = CAST(:id AS uuid)
    ORDER BY orders.created_at DESC LIMIT {LAST_ORDERS}
""")  # noqa: S608 - our own constants
NO_ID = UUID(int=0)
LAST_LETTER = "\U0010ffff"


async def list_customers(
    tx: AsyncSession, *, search: str = "", clear: bool = False, limit: int = 50, cursor: str | None = None
) -> CustomerPage:
    """Return a page of customers, newest first; `limit` is 1 to 200.

    `search`: how the e-mail address starts; these are in the order of their addresses. `clear`: not masked. Raises
    BadInput.
    """
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput([FieldError(field="limit", message=f"must be 1 to {MAX_PAGE}")])
    start = normalise_address(search) if search else ""
    place = await _place(tx, cursor) if cursor is not None else None
    if start:
        values = {"search": start, "end": start + LAST_LETTER, "after": place.email or "" if place else ""}
        statement = BY_ADDRESS
    else:
        values = {"before": place.created_at if place else None, "before_id": place.id if place else NO_ID}
        statement = NEWEST
    rows = (await tx.execute(statement, values | {"limit": limit + 1})).mappings().all()
    found = [_summary(row, clear=clear) for row in rows[:limit]]
    return CustomerPage(customers=found, next_cursor=found[-1].customer_id if len(rows) > limit else None)


async def load_customer(tx: AsyncSession, reference: str, *, clear: bool = True) -> CustomerView:
    """Return the customer with this id or e-mail address, masked unless `clear`. Raises CustomerNotFound."""
    values = {"id": _as_id(reference), "email": normalise_address(reference)}
    row = (await tx.execute(FIND, values)).mappings().one_or_none()
    if row is None:
        raise CustomerNotFound
    customer = _summary(row, clear=clear)
    orders = (await tx.execute(ORDERS, {"id": UUID(customer.customer_id)})).mappings().all()
    return CustomerView(
        **dict(customer),
        groups=list(await tx.scalars(GROUPS, {"id": UUID(customer.customer_id)})),
        last_orders=[
            OrderSummary.model_validate({**order, "customer": mask_name(order["customer"])}) for order in orders
        ],
    )


def _summary(row: Any, *, clear: bool) -> CustomerSummary:
    shown = dict(row)
    if not clear:
        shown |= {"email": mask_address(row["email"]), "name": mask_name(row["name"])}
    return CustomerSummary.model_validate(shown)


async def _place(tx: AsyncSession, cursor: str) -> Any:
    place = (await tx.execute(PLACE, {"id": _as_id(cursor)})).one_or_none()
    if place is None:
        raise BadInput([FieldError(field="cursor", message="must be the next_cursor of an earlier page")])
    return place


def _as_id(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
