"""Who the shop's customers are: guests, accounts, and the group that every account is in."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, outbox
from commerce.errors import CustomerAlreadyExists
from commerce.messages.base import Nothing
from commerce.messages.customers import Created, CustomerData, Registered, welcome_key
from commerce.messages.events import CustomerCreated
from commerce.outbox import NewEvent

DEFAULT_GROUP = "default_customers"

# A hash is salted: whoever brings the very same one repeats the request that made the account.
FIND_ACCOUNT = text("""
    SELECT CAST(customers.id AS text) AS customer_id, CAST(auth_users.id AS text) AS auth_user_id,
           coalesce(password_hash = :password_hash, false) AS same,
           EXISTS (SELECT FROM notifications
                   WHERE key = :welcome || customers.id AND status = 'sent') AS welcomed
    FROM customers LEFT JOIN auth_users ON customer_id = customers.id
    WHERE email = :email AND has_account
""")
# One customer per address: a guest becomes the account, and so keeps the orders.
CREATE = text("""
    INSERT INTO customers (email, has_account, first_name, last_name, registered_at)
    VALUES (:email, true, :first_name, :last_name, now())
    ON CONFLICT (email) DO UPDATE
    SET has_account = true, first_name = excluded.first_name, last_name = excluded.last_name,
        registered_at = excluded.registered_at
    WHERE NOT customers.has_account
    RETURNING CAST(id AS text), old.id IS NOT NULL
""")
MAKE_GUEST = text("""
    UPDATE customers SET has_account = false, first_name = NULL, last_name = NULL, registered_at = NULL
    WHERE id = CAST(:customer_id AS uuid)
""")
# An order may have come in since: its customer stays, as a guest.
DELETE = text("""
    DELETE FROM customers
    WHERE id = CAST(:customer_id AS uuid) AND NOT EXISTS (SELECT FROM orders WHERE customer_id = customers.id)
""")
MAKE_GROUP = text("INSERT INTO customer_groups (name) VALUES (:name) ON CONFLICT DO NOTHING")
JOIN = text("""
    INSERT INTO customer_group_members (group_id, customer_id)
    SELECT id, CAST(:customer_id AS uuid) FROM customer_groups WHERE name = :name
    ON CONFLICT DO NOTHING
""")
LEAVE = text("""
    DELETE FROM customer_group_members USING customer_groups
    WHERE customer_groups.id = group_id AND name = :name AND customer_id = CAST(:customer_id AS uuid)
""")
ANNOUNCED = text("SELECT email, registered_at FROM customers WHERE id = CAST(:customer_id AS uuid)")


async def registered(tx: AsyncSession, email: str, password_hash: str) -> Registered | None:
    """Return what this very request has registered before, or None when the address is new.

    Raises CustomerAlreadyExists when the address has an account by another request (A4).
    """
    values = {"email": email, "password_hash": password_hash, "welcome": welcome_key("")}
    account = (await tx.execute(FIND_ACCOUNT, values)).mappings().one_or_none()
    if account is None:
        return None
    if not account["same"]:
        raise CustomerAlreadyExists
    return Registered.model_validate({**account})


async def create(tx: AsyncSession, data: CustomerData) -> Created:
    """Make the account of an address, of its guest where there is one; raises CustomerAlreadyExists."""
    row = (await tx.execute(CREATE, data.model_dump())).one_or_none()
    if row is None:
        raise CustomerAlreadyExists
    customer_id, was_guest = row
    return Created(customer_id=customer_id, was_guest=was_guest)


async def delete(tx: AsyncSession, created: Created) -> None:
    """Take an account back: what was a guest, or has orders by now, is a guest again."""
    values = {"customer_id": created.customer_id}
    await tx.execute(MAKE_GUEST, values)
    if not created.was_guest:
        await tx.execute(DELETE, values)


async def complete(tx: AsyncSession, customer_id: str) -> Nothing:
    """Put an account into its group, write `customer.created` and queue the welcome mail (A5, A6); again: no effect."""
    values = {"customer_id": customer_id, "name": DEFAULT_GROUP}
    await tx.execute(MAKE_GROUP, values)
    await tx.execute(JOIN, values)
    email, registered_at = (await tx.execute(ANNOUNCED, values)).one()
    fact = CustomerCreated(customer_id=customer_id, created_at=registered_at)
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"customer/{customer_id}", key=customer_id))
    await notifications.queue(
        tx, key=welcome_key(customer_id), kind="welcome", recipient=email, data={"customer_id": customer_id}
    )
    return Nothing()


async def leave_group(tx: AsyncSession, customer_id: str) -> None:
    """Take a customer out of the group of all accounts; no effect on one who is not in it."""
    await tx.execute(LEAVE, {"customer_id": customer_id, "name": DEFAULT_GROUP})
