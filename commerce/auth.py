"""How accounts log in: with an address and a password, of which only the argon2id hash is kept."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import passwords
from commerce.database import Database
from commerce.email_addresses import validate
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
    """Let a customer log in; the database allows one auth user per customer."""
    created, provider = (await tx.execute(CREATE, user.model_dump())).one()
    return AuthUser(id=created, provider_id=provider)


async def delete(tx: AsyncSession, user: AuthUser) -> None:
    """Take a login away."""
    await tx.execute(DELETE, {"id": user.id})


async def verify_password(database: Database, email: str, password: str) -> str | None:
    """Return the id of the customer whose password this is, or None; how long that takes does not tell which.

    A hash with weaker parameters than today's is replaced. Raises DatabaseUnavailable.
    """
    try:
        address = validate(email)
    except ValueError:
        await passwords.verify_nothing(password)
        return None
    async with database.transaction() as tx:
        row = (await tx.execute(FIND, {"email": address})).one_or_none()
    if row is None:
        await passwords.verify_nothing(password)
        return None
    customer_id, password_hash = row
    if not await passwords.verify(password, password_hash):
        return None
    if passwords.needs_rehash(password_hash):
        values = {"customer_id": customer_id, "old": password_hash, "new": await passwords.hash(password)}
        async with database.transaction() as tx:
            await tx.execute(REPLACE_HASH, values)
    return str(customer_id)
