"""Customers: guests, accounts, and the group that every account belongs to."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import notifications, outbox
from commerce.errors import CustomerAlreadyExists
from commerce.messages.base import Nothing
from commerce.messages.customers import CreatedCustomer, CustomerData, EarlierRegistration, welcome_key
from commerce.messages.events import CustomerCreated
from commerce.outbox import NewEvent

DEFAULT_GROUP = "default_customers"

# Hashes are salted, so an equal hash can only come from the request that created the account.
FIND_ACCOUNT = text("""
    SELECT CAST(customers.id AS text) AS customer_id, CAST(auth_users.id AS text) AS auth_user_id,
           coalesce(password_hash = :password_hash, false) AS same_request,
           EXISTS (SELECT FROM notifications
                   WHERE key = :welcome || customers.id AND status = 'sent') AS welcomed
    FROM customers LEFT JOIN auth_users ON customer_id = customers.id
    WHERE email = :email AND has_account
""")
# There is one customer per address: a guest becomes the account and keeps the orders (A2).
CREATE = text("""
    INSERT INTO customers (email, has_account, first_name, last_name, registered_at, registered_by)
    VALUES (:email, true, :first_name, :last_name, now(), :registered_by)
    ON CONFLICT (email) DO UPDATE
    SET has_account = true, first_name = excluded.first_name, last_name = excluded.last_name,
        registered_at = excluded.registered_at, registered_by = excluded.registered_by
    WHERE NOT customers.has_account
    RETURNING CAST(id AS text), old.id IS NOT NULL
""")
MAKE_GUEST = text("""
    UPDATE customers SET has_account = false, first_name = NULL, last_name = NULL, registered_at = NULL,
                         registered_by = NULL
    WHERE id = CAST(:customer_id AS uuid)
""")
# A customer who has ordered since stays, as a guest.
DELETE = text("""
    DELETE FROM customers
    WHERE id = CAST(:customer_id AS uuid) AND NOT EXISTS (SELECT FROM orders WHERE customer_id = customers.id)
""")
CREATE_GROUP = text("INSERT INTO customer_groups (name) VALUES (:name) ON CONFLICT DO NOTHING")
JOIN_GROUP = text("""
    INSERT INTO customer_group_members (group_id, customer_id)
    SELECT id, CAST(:customer_id AS uuid) FROM customer_groups WHERE name = :name
    ON CONFLICT DO NOTHING
""")
LEAVE_GROUP = text("""
    DELETE FROM customer_group_members USING customer_groups
    WHERE customer_groups.id = group_id AND name = :name AND customer_id = CAST(:customer_id AS uuid)
""")
FIND_REGISTERED = text("SELECT email, registered_at FROM customers WHERE id = CAST(:customer_id AS uuid)")


async def find_registration(tx: AsyncSession, email: str, password_hash: str) -> EarlierRegistration | None:
    """Return what an earlier run of the same request registered, or None if the address has no account.

    Raises CustomerAlreadyExists if another request created the account (A4).
    """
    values = {"email": email, "password_hash": password_hash, "welcome": welcome_key("")}
    account = (await tx.execute(FIND_ACCOUNT, values)).mappings().one_or_none()
    if account is None:
        return None
    if not account["same_request"]:
        raise CustomerAlreadyExists
    return EarlierRegistration.model_validate({**account})


async def create(tx: AsyncSession, data: CustomerData, registered_by: str | None = None) -> CreatedCustomer:
    """Create an account, from the guest with this address if there is one. Raises CustomerAlreadyExists (A1, A2).

    `registered_by`: the id of the process; None: the one without a key.
    """
    row = (await tx.execute(CREATE, data.model_dump() | {"registered_by": registered_by})).one_or_none()
    if row is None:
        raise CustomerAlreadyExists
    customer_id, was_guest = row
    return CreatedCustomer(customer_id=customer_id, was_guest=was_guest)


async def delete(tx: AsyncSession, created: CreatedCustomer) -> None:
    """Undo `create`: turn the customer back into a guest if it was one or has ordered since, else delete it."""
    values = {"customer_id": created.customer_id}
    await tx.execute(MAKE_GUEST, values)
    if not created.was_guest:
        await tx.execute(DELETE, values)


async def complete_registration(tx: AsyncSession, customer_id: str) -> Nothing:
    """Add an account to its group, publish `customer.created` and queue the welcome mail, each only once (A5, A6)."""
    values = {"customer_id": customer_id, "name": DEFAULT_GROUP}
    await tx.execute(CREATE_GROUP, values)
    await tx.execute(JOIN_GROUP, values)
    email, registered_at = (await tx.execute(FIND_REGISTERED, values)).one()
    fact = CustomerCreated(customer_id=customer_id, created_at=registered_at)
    await outbox.add(tx, NewEvent.from_data(fact, aggregate=f"customer/{customer_id}", key=customer_id))
    await notifications.queue(
        tx, key=welcome_key(customer_id), kind="welcome", recipient=email, data={"customer_id": customer_id}
    )
    return Nothing()


async def remove_from_group(tx: AsyncSession, customer_id: str) -> None:
    """Remove a customer from the group of all accounts; does nothing if the customer is not in it."""
    await tx.execute(LEAVE_GROUP, {"customer_id": customer_id, "name": DEFAULT_GROUP})
