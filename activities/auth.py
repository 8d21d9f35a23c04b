"""Steps on how customers log in."""

from temporalio import activity

from commerce import auth, ledger
from commerce.database import Database
from commerce.messages.base import Nothing
from commerce.messages.customers import AuthUser, NewAuthUser
from commerce.messages.steps import Call


class AuthActivities:
    """Give a customer a login, and take it away."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @activity.defn(name="create-auth-user")
    async def create(self, call: Call[NewAuthUser]) -> AuthUser:
        """Let the customer log in with the password whose hash came with the registration."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, AuthUser, lambda: auth.create(tx, call.input))

    @activity.defn(name="delete-auth-user")
    async def delete(self, call: Call[Nothing]) -> Nothing:
        """Take the login away."""
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, AuthUser, lambda user: auth.delete(tx, user))
