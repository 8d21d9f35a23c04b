"""Activities that create and delete customers' logins."""

from temporalio import activity

from commerce import auth, ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.customers import AuthUser, NewAuthUser
from commerce.messages.steps import Call


class AuthActivities:
    """Create and delete logins."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="create-auth-user")
    async def create(self, call: Call[NewAuthUser]) -> AuthUser:
        """Create the customer's login with the password hash from the registration."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, AuthUser, lambda: auth.create(tx, call.input))

    @activity.defn(name="delete-auth-user")
    async def delete(self, call: Call[Nothing]) -> Nothing:
        """Delete the login."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, AuthUser, lambda user: auth.delete(tx, user))
