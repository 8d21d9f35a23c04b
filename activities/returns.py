"""Activities that take goods back from a customer."""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from activities.boundary.generations import begin, key_of_run
from activities.boundary.labels import LabelPurchase, ShipmentNote
from activities.boundary.outages import OutageAlerts
from commerce import generations, ledger, returns, shipments, waits
from commerce.database import Database
from commerce.errors import BadInput, CarrierDown, CarrierRefused, MailUnavailable, PermanentError, StepInProgress
from commerce.integrations.carrier import Carrier
from commerce.mail.notifier import Notifier
from commerce.messages.base import Nothing
from commerce.messages.notifications import Alert
from commerce.messages.orders import Label
from commerce.messages.returns import (
    BegunReturn,
    CheckedReceipt,
    CompletedReturn,
    NewReturn,
    ReceiptProblems,
    ReceivedReturn,
    ReceivedUnits,
    RegisteredReturn,
    ReturnRef,
    closed_key,
)
from commerce.messages.steps import Begin, Call
from commerce.messages.waits import WaitKey
from commerce.shipments import Shipment


class ReturnActivities:
    """Register returns, buy their labels, and take the goods back.

    `carriers` are all carriers by name; the one named `carrier` sells new labels. `days`: how long they wait for
    goods.
    """

    def __init__(
        self,
        database: Database,
        carriers: Mapping[str, Carrier],
        carrier: str,
        notifier: Notifier,
        days: float,
        outages: OutageAlerts | None = None,
    ) -> None:
        self._database = database
        self._notifier = notifier
        self._days = days
        self._outages = outages
        self._label = _ReturnLabel(database, carriers, carrier)

    @activity.defn(name="begin-return")
    async def begin(self, call: Begin[ReturnRef]) -> BegunReturn:
        """Make this run the current one of the return, and check that the order can have one (R1)."""
        key = key_of_run(call.key)

        async def check(tx: AsyncSession) -> BegunReturn:
            if leftovers := await generations.find_leftovers(tx, key):
                return BegunReturn(generation=key.generation, leftovers=leftovers)
            return BegunReturn(generation=key.generation, received=await returns.check(tx, call.input))

        return await begin(self._database, key, check)

    @activity.defn(name="register-return")
    async def register(self, call: Call[NewReturn]) -> RegisteredReturn:
        """Register the return, so that no other one can have its units (R2)."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, RegisteredReturn, lambda: returns.register(tx, call.input, self._days))

    @activity.defn(name="close-return")
    async def close(self, call: Call[NewReturn]) -> Nothing:
        """Close the return, and queue the mail about it if the customer was asked for the goods."""
        key = closed_key(call.input.return_id, call.key.generation)
        async with self._database.transaction() as tx:
            return await ledger.undo(tx, call, RegisteredReturn, lambda _: returns.close(tx, call.input, key))

    @activity.defn(name="create-return-label")
    async def create_label(self, call: Call[ReturnRef]) -> Label:
        """Buy the label with which the goods come back, however often this is tried (R2)."""
        async with self._watched():
            return await self._label.do(call)

    @activity.defn(name="void-return-label")
    async def void_label(self, call: Call[ReturnRef]) -> Nothing:
        """Refund the label, if one was bought."""
        async with self._watched():
            return await self._label.undo(call)

    @activity.defn(name="await-return")
    async def ask(self, call: Call[ReturnRef]) -> Nothing:
        """Mail the customer the label, once per wait (N1). The goods are waited for whatever becomes of the mail.

        A receipt that could not be right asks again, but that is no matter of the customer's.
        """
        wait = WaitKey.of(call.key)

        async def ask(tx: AsyncSession) -> str | None:
            wait_id = await waits.open_id(tx, wait)
            if wait_id is None or not await waits.asks_anew(tx, wait):
                return None
            key = f"return-label/{call.input.return_id}/{wait_id}"
            return key if await returns.ask(tx, call.input, key, await waits.deadline(tx, wait_id)) else None

        async with self._database.transaction() as tx:
            mail = await ask(tx)
        if mail is not None:
            await self._send(mail, call.input)
        return Nothing()

    @activity.defn(name="check-receipt")
    async def check_receipt(self, call: Call[CheckedReceipt]) -> ReceiptProblems:
        """Check that the return has the units that came back."""
        async with self._database.transaction() as tx:
            try:
                await returns.check_receipt(tx, call.input.return_id, call.input.receipt)
            except BadInput as wrong:
                return ReceiptProblems(problems=wrong.fields)
        return ReceiptProblems()

    @activity.defn(name="receive-return")
    async def receive(self, call: Call[ReceivedUnits]) -> ReceivedReturn:
        """Final step: put the sellable units back on the shelf (R3). From here on, nothing is undone."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, ReceivedReturn, lambda: returns.receive(tx, call.input), final=True)

    @activity.defn(name="complete-return")
    async def complete(self, call: Call[ReturnRef]) -> CompletedReturn:
        """Complete the return, write its event, queue the customer's mail (R5)."""
        async with self._database.transaction() as tx:
            return await ledger.once(tx, call, CompletedReturn, lambda: returns.complete(tx, call.input))

    async def _send(self, mail: str, ref: ReturnRef) -> None:
        """Send a mail now if that works; workers send it later otherwise. One that is refused is alerted."""
        try:
            await self._notifier.send(mail)
        except (MailUnavailable, StepInProgress):
            return
        except PermanentError as error:
            message = "The customer was not mailed how to send the goods back"
            alert = Alert(kind="notification-failed", key=f"notification-failed/{mail}", message=message)
            about = {"order_id": ref.order_id, "error": f"{type(error).__name__}: {error}"}
            await self._notifier.alert_or_hand_over(alert.model_copy(update=about))

    def _watched(self) -> AbstractAsyncContextManager[None]:
        return self._outages.watch(CarrierDown.service) if self._outages else nullcontext()


class _ReturnLabel(LabelPurchase[ReturnRef]):
    async def read(self, tx: AsyncSession, ref: ReturnRef) -> Shipment:
        """Return the shipment that brings the goods back."""
        return await shipments.load_return(tx, ref)

    async def record(self, tx: AsyncSession, ref: ReturnRef, label: Label) -> None:
        """Store the label on the return."""
        await shipments.record_return_label(tx, ref, label)

    async def take_back(self, note: ShipmentNote) -> bool:
        """Refund the label. One that was used is not refunded."""
        try:
            return await super().take_back(note)
        except CarrierRefused:
            state = await self._carrier_of(note).look_up(note.shipment_id)
            if state is not None and state.handed_over:
                return True
            raise
