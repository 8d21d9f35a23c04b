"""The step that asks for a proof of a registration's address."""

from temporalio import activity

from activities.boundary.outages import OutageAlerts
from commerce import confirmations, ledger
from commerce.database import Database
from commerce.errors import MailServerDown
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.customers import ConfirmationAsked, ConfirmationRequest
from commerce.messages.steps import Call
from commerce.messages.waits import WaitKey


class ConfirmationActivities:
    """Mail the link that proves an address, and take that back."""

    def __init__(self, database: Database, notifier: Notifier, outages: OutageAlerts) -> None:
        self._database = database
        self._notifier = notifier
        self._outages = outages

    @activity.defn(name="confirm-address")
    async def request(self, call: Call[ConfirmationRequest]) -> ConfirmationAsked:
        """Mail the link that proves the address, unless the address got three such mails within a day."""
        async with self._database.transaction() as tx:
            asked = await ledger.once(
                tx, call, ConfirmationAsked, lambda: confirmations.ask(tx, WaitKey.of(call.key), call.input)
            )
        if asked.mail:
            async with self._outages.watch(MailServerDown.service):
                await self._notifier.send(asked.mail)
        return asked

    @activity.defn(name="withdraw-confirmation")
    async def withdraw(self, call: Call[Nothing]) -> Nothing:
        """Let the registration be confirmed no more."""

        async def end(_: ConfirmationAsked) -> None:
            await confirmations.end(tx, call.key.business_key)

        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, ConfirmationAsked, end)
