"""Logins with address and password; only the argon2id hash of the password is stored (A3)."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import passwords
from commerce.database import Database
from commerce.email_addresses import validate_address
from commerce.messages.customers import AuthUser, NewAuthUser

CREATE = text("""
    INSERT INTO auth_users (customer_id, password_hash) VALUES (CAST(:customer_id AS uuid), :password_hash)
    RETURNING CAST(id AS text), provider_id
""")
DELETE = text("DELETE FROM auth_users WHERE id = CAST(:id AS uuid)")
FIND = text("""
    SELECT CAST(customers.id AS text), password_hash
    FROM customers JOIN auth_users ON customer_id = customers.id
    WHERE email = :email AND has_account
""")
REPLACE_HASH = text("""
    UPDATE auth_users SET password_hash = :new WHERE customer_id = CAST(:customer_id AS uuid) AND password_hash = :old
""")


async def create(tx: AsyncSession, user: NewAuthUser) -> AuthUser:
    """Create the login of a customer; the database allows one per customer."""
    user_id, provider = (await tx.execute(CREATE, user.model_dump())).one()
    return AuthUser(id=user_id, provider_id=provider)


async def delete(tx: AsyncSession, user: AuthUser) -> None:
    """Delete a login."""
    await tx.execute(DELETE, {"id": user.id})


async def verify_password(database: Database, email: str, password: str) -> str | None:
    """Return the customer's id, or None if address or password is wrong.

    Takes equally long without an account, so that response times do not reveal which addresses have one. Replaces a
    hash with weaker parameters than the current ones. Raises DatabaseUnavailable.
    """
    try:
        address = validate_address(email)
    except ValueError:
        await passwords.verify_dummy(password)
        return None
    async with database.transaction() as tx:
        row = (await tx.execute(FIND, {"email": address})).one_or_none()
    if row is None:
        await passwords.verify_dummy(password)
        return None
    customer_id, password_hash = row
    if not await passwords.verify(password, password_hash):
        return None
    if passwords.needs_rehash(password_hash):
        values = {"customer_id": customer_id, "old": password_hash, "new": await passwords.hash(password)}
        async with database.transaction() as tx:
            await tx.execute(REPLACE_HASH, values)
    return str(customer_id)
