"""Steps that call an external service: done once and undone once, however often an attempt fails or is killed.

A call to a carrier or a payment provider cannot be part of a database transaction. `do` therefore claims the step in
one transaction, calls the service outside any transaction, and records the result in another (E11). Derive one class
per step: from `ExternalRead` if the service is only read, from `ExternalEffect` if something happens there that an undo
must take back. A payment, for example:

    class CapturePayment(ExternalEffect[OrderRef, AmountDue, PaymentNote, Payment]):
        def __init__(self, database: Database, provider: PaymentProvider) -> None:
            super().__init__(database, note=PaymentNote, result=Payment, lease=LEASE, max_delay=MAX_DELAY)
            self._provider = provider

        async def read(self, tx: AsyncSession, order: OrderRef) -> AmountDue:
            return await payments.amount_due(tx, order.order_id)

        async def prepare(self, due: AmountDue, reference: str) -> PaymentNote:
            return PaymentNote(payment_id=await self._provider.create_payment(due, reference))  # moves no money

        async def perform(self, note: PaymentNote) -> Payment:
            return await self._provider.capture(note.payment_id)  # moves the money, once per payment id

        async def record(self, tx: AsyncSession, order: OrderRef, payment: Payment) -> None:
            await payments.record(tx, order.order_id, payment)

        async def take_back(self, note: PaymentNote) -> bool:
            return await self._provider.refund(note.payment_id)

The activity `capture-payment` then returns `await self._capture.do(call)`, and its undo `refund-payment` returns
`await self._capture.undo(call)`.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

from sqlalchemy.ext.asyncio import AsyncSession

from commerce import ledger
from commerce.database import Database
from commerce.errors import PermanentError, StepInProgress, StepWithdrawn
from commerce.ledger import StepRecord
from commerce.messages.base import Message, Nothing
from commerce.messages.steps import Call

InputT = TypeVar("InputT", bound=Message)
PlanT = TypeVar("PlanT")
NoteT = TypeVar("NoteT", bound=Message)
ResultT = TypeVar("ResultT", bound=Message)

TAKE_OVER = timedelta(0)  # a lease that has ended when it is granted: the next attempt need not wait


@dataclass(frozen=True)
class Attempt(Generic[InputT, PlanT]):
    """One attempt of a step: its call, and the plan that `read` returned."""

    call: Call[InputT]
    plan: PlanT
    step: StepRecord
    database: Database

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """Open a transaction during which no other attempt can take over.

        Raises StepInProgress if one has already: what this attempt has read may be older.
        """
        async with self.database.transaction() as tx:
            await ledger.lock_lease(tx, self.call.key, self.step.lease_until)
            yield tx


class _ExternalStep(ABC, Generic[InputT, PlanT, ResultT]):
    def __init__(self, database: Database, result: type[ResultT], lease: timedelta) -> None:
        self._database = database
        self._result = result
        self._lease = lease

    async def do(self, call: Call[InputT]) -> ResultT:
        """Run the step, or return the recorded result if it is already done.

        Raises StepWithdrawn behind a tombstone, StaleGeneration when a newer run has begun, and what the hooks raise.
        """
        async with self._database.transaction() as tx:
            step = await ledger.acquire(tx, call, self._lease)
            if step.result is not None:
                return self._result.model_validate(step.result)
            plan = await self.read(tx, call.input)
        return await self._run(Attempt(call, plan, step, self._database))

    @abstractmethod
    async def read(self, tx: AsyncSession, value: InputT) -> PlanT:
        """Return what the call needs from the database. If this raises, the step is not claimed."""

    async def record(self, tx: AsyncSession, value: InputT, result: ResultT) -> None:
        """Write the result to the shop's tables, in the transaction that records it in the ledger."""

    @abstractmethod
    async def _run(self, attempt: Attempt[InputT, PlanT]) -> ResultT:
        """Call the service and record the result."""

    async def _record(self, call: Call[InputT], result: ResultT) -> ResultT:
        async with self._database.transaction() as tx:
            if await ledger.record_result(tx, call.key, result):
                await self.record(tx, call.input, result)
                return result
            return self._result.model_validate(await ledger.recorded_result(tx, call.key))  # of a faster attempt


class ExternalRead(_ExternalStep[InputT, PlanT, ResultT]):
    """A step that changes nothing at the service. A new attempt takes over from the one before at once."""

    def __init__(self, database: Database, *, result: type[ResultT]) -> None:
        super().__init__(database, result, lease=TAKE_OVER)

    @abstractmethod
    async def query(self, attempt: Attempt[InputT, PlanT]) -> ResultT:
        """Read from the service, and return the result of the step.

        Whatever this writes to the database before it returns must go through `attempt.transaction`.
        """

    async def _run(self, attempt: Attempt[InputT, PlanT]) -> ResultT:
        return await self._record(attempt.call, await self.query(attempt))


class ExternalEffect(_ExternalStep[InputT, PlanT, ResultT], Generic[InputT, PlanT, NoteT, ResultT]):
    """A step with an effect at the service, which `undo` takes back.

    `lease`: how long one attempt may take. Until it ends, other attempts and the undo raise StepInProgress.
    `max_delay`: how long the service may still carry out a request after the attempt stopped waiting for its answer.
    """

    def __init__(
        self, database: Database, *, note: type[NoteT], result: type[ResultT], lease: timedelta, max_delay: timedelta
    ) -> None:
        super().__init__(database, result, lease)
        self._note = note
        self._max_delay = max_delay

    async def undo(self, call: Call[InputT]) -> Nothing:
        """Leave the step's tombstone, and take back the effect that the step had or may have had (E2).

        Raises StepInProgress while an attempt is running, or while the service may still carry out its request.
        """
        async with self._database.transaction() as tx:
            step = await ledger.withdraw(tx, call, self._max_delay)
        if step.leased:  # the tombstone refuses new attempts; the running one ends with its lease
            raise StepInProgress(call.key.step)
        if step.state != "undone" and step.note is not None:
            taken_back = await self.take_back(self._note.model_validate(step.note))
            if step.outcome_unknown and not taken_back:  # what the service does after this would never be undone
                raise StepInProgress(call.key.step)
        async with self._database.transaction() as tx:
            await ledger.record_undone(tx, call.key)
        return Nothing()

    @abstractmethod
    async def prepare(self, plan: PlanT, reference: str) -> NoteT:
        """Return the note that tells `perform` and `take_back` which effect at the service is meant.

        The first note of a step is saved before it is performed, and all attempts use that one. A note that is not
        saved is lost, so a request made here must cost nothing. `reference` is the key of the step.
        """

    @abstractmethod
    async def perform(self, note: NoteT) -> ResultT:
        """Have the effect. Performing a note again must not have it again, and must return the same result.

        Raise a PermanentError only if the service has refused, so that nothing will happen there. After any other
        error it may still carry out the request.
        """

    @abstractmethod
    async def take_back(self, note: NoteT) -> bool:
        """Take the effect back, unless that is done already. Return False if there is none, or none yet."""

    async def _run(self, attempt: Attempt[InputT, PlanT]) -> ResultT:
        key, max_delay = attempt.call.key, None  # set while a request is unanswered
        try:
            async with asyncio.timeout(self._lease.total_seconds()):
                note = await self._saved_note(attempt)
                max_delay = self._max_delay
                result = await self.perform(note)
                max_delay = None
                return await self._record_or_take_back(attempt.call, note, result)  # recording ends the lease, too
        except BaseException as error:
            if isinstance(error, PermanentError):
                max_delay = None
            async with self._database.transaction() as tx:
                await ledger.release(tx, key, attempt.step.lease_until, max_delay)
            raise

    async def _saved_note(self, attempt: Attempt[InputT, PlanT]) -> NoteT:
        saved, key = attempt.step.note, attempt.call.key
        if saved is None:
            note = await self.prepare(attempt.plan, str(key))
            async with self._database.transaction() as tx:
                saved = await ledger.save_note(tx, key, note.model_dump(mode="json"))
        return self._note.model_validate(saved)

    async def _record_or_take_back(self, call: Call[InputT], note: NoteT, result: ResultT) -> ResultT:
        try:
            return await self._record(call, result)
        except StepWithdrawn:  # the step was undone in the meantime
            await self.take_back(note)
            raise
