"""Steps that call an external service: a payment that is captured once and refunded once, and a query (E2, E5, E11)."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from commerce import ledger
from commerce.database import Database
from commerce.errors import CarrierRefused, CarrierUnavailable, StepInProgress, StepWithdrawn
from commerce.external_steps import Attempt, ExternalEffect, ExternalRead
from commerce.messages.base import Message
from commerce.messages.orders import OrderRef
from commerce.messages.steps import Call, StepKey
from tests.commerce.shop import begin_generation, let_pass

KEY = StepKey(business_key="order-1", step="capture-payment", generation="g1")
CALL = Call(key=KEY, input=OrderRef(order_id="1"), undo="refund-payment")


class PaymentNote(Message):
    payment_id: str


class Payment(Message):
    amount: int


class Provider:
    """A payment provider: `payments` are its payments by id; `on_capture` runs after the money has moved."""

    def __init__(self) -> None:
        self.payments: dict[str, str] = {}
        self.on_capture: Callable[[], object] = lambda: None

    def create(self) -> str:
        payment_id = f"pay_{len(self.payments) + 1}"
        self.payments[payment_id] = "created"
        return payment_id

    async def capture(self, payment_id: str) -> Payment:
        self.payments[payment_id] = "captured"
        self.on_capture()
        await asyncio.sleep(0)
        return Payment(amount=500)

    def refund(self, payment_id: str) -> bool:
        if self.payments[payment_id] == "created":
            return False
        self.payments[payment_id] = "refunded"
        return True


class CapturePayment(ExternalEffect[OrderRef, str, PaymentNote, Payment]):
    def __init__(self, database: Database, provider: Provider, lease: float = 25, max_delay: float = 30) -> None:
        super().__init__(
            database,
            note=PaymentNote,
            result=Payment,
            lease=timedelta(seconds=lease),
            max_delay=timedelta(seconds=max_delay),
        )
        self._provider = provider

    async def read(self, tx: AsyncSession, order: OrderRef) -> str:
        return f"order {order.order_id}"

    async def prepare(self, plan: str, reference: str) -> PaymentNote:
        assert (plan, reference) == ("order 1", "order-1/capture-payment/g1")
        return PaymentNote(payment_id=self._provider.create())

    async def perform(self, note: PaymentNote) -> Payment:
        return await self._provider.capture(note.payment_id)

    async def record(self, tx: AsyncSession, order: OrderRef, payment: Payment) -> None:
        values = {"id": order.order_id, "title": str(payment.amount)}
        await tx.execute(text("INSERT INTO products (id, title) VALUES (:id, :title)"), values)

    async def take_back(self, note: PaymentNote) -> bool:
        return self._provider.refund(note.payment_id)


class CountProducts(ExternalRead[OrderRef, int, Payment]):
    """Counts products; `meanwhile` runs between its read and its write."""

    def __init__(self, database: Database, meanwhile: Callable[[], object]) -> None:
        super().__init__(database, result=Payment)
        self._meanwhile = meanwhile

    async def read(self, tx: AsyncSession, order: OrderRef) -> int:
        return int(await tx.scalar(text("SELECT count(*) FROM products")) or 0)

    async def query(self, attempt: Attempt[OrderRef, int]) -> Payment:
        if isinstance(other := self._meanwhile(), asyncio.Task):
            await other
        async with attempt.transaction() as tx:
            await tx.execute(text("INSERT INTO products (id, title) VALUES (uuidv7()::text, 'counted')"))
        return Payment(amount=attempt.plan)


@pytest.fixture
async def provider(database: Database) -> Provider:
    async with database.transaction() as tx:
        await begin_generation(tx, KEY)
    return Provider()


async def products(database: Database) -> list[str]:
    async with database.transaction() as tx:
        return list(await tx.scalars(text("SELECT title FROM products")))


def failing(provider: Provider, error: BaseException) -> None:
    """Let the next capture fail after the money has moved."""

    def fail() -> None:
        provider.on_capture = lambda: None
        raise error

    provider.on_capture = fail


async def test_a_repeated_step_returns_the_recorded_result(database: Database, provider: Provider) -> None:
    step = CapturePayment(database, provider)
    assert [await step.do(CALL) for _ in range(2)] == [Payment(amount=500)] * 2
    assert provider.payments == {"pay_1": "captured"}
    assert await products(database) == ["500"]


async def test_the_next_attempt_uses_the_note_of_the_first(database: Database, provider: Provider) -> None:
    failing(provider, CarrierUnavailable("no answer"))
    with pytest.raises(CarrierUnavailable):
        await CapturePayment(database, provider).do(CALL)
    await CapturePayment(database, provider).do(CALL)
    assert provider.payments == {"pay_1": "captured"}


async def test_an_undo_takes_the_effect_back_once(database: Database, provider: Provider) -> None:
    step = CapturePayment(database, provider)
    await step.do(CALL)
    for _ in range(2):
        await step.undo(CALL)
    assert provider.payments == {"pay_1": "refunded"}
    with pytest.raises(StepWithdrawn):
        await step.do(CALL)


async def test_an_attempt_that_is_undone_while_it_runs_takes_its_effect_back(
    database: Database, provider: Provider
) -> None:
    step, captured = CapturePayment(database, provider), asyncio.Event()
    provider.on_capture = captured.set
    attempt = asyncio.create_task(step.do(CALL))
    await captured.wait()
    async with database.transaction() as tx:
        await ledger.withdraw(tx, CALL)
    with pytest.raises(StepWithdrawn):
        await attempt
    assert provider.payments == {"pay_1": "refunded"}
    assert await products(database) == []


async def test_an_attempt_cannot_take_longer_than_its_lease(database: Database, provider: Provider) -> None:
    step = CapturePayment(database, provider, lease=0.3, max_delay=0)

    async def hang(_note: PaymentNote) -> Payment:
        await asyncio.sleep(60)
        raise AssertionError

    step.perform = hang  # type: ignore[method-assign]
    with pytest.raises(TimeoutError):
        await step.do(CALL)


async def test_an_undo_waits_for_a_request_that_got_no_answer(database: Database, provider: Provider) -> None:
    failing(provider, CarrierUnavailable("no answer"))
    step = CapturePayment(database, provider, max_delay=3600)
    with pytest.raises(CarrierUnavailable):
        await step.do(CALL)
    provider.payments["pay_1"] = "created"  # it will be captured later, or never
    with pytest.raises(StepInProgress):
        await step.undo(CALL)
    await let_pass(database, timedelta(hours=1))
    await step.undo(CALL)


async def test_an_undo_does_not_wait_after_a_refusal(database: Database, provider: Provider) -> None:
    failing(provider, CarrierRefused("CARD", 422))
    step = CapturePayment(database, provider)
    with pytest.raises(CarrierRefused):
        await step.do(CALL)
    provider.payments["pay_1"] = "created"
    await step.undo(CALL)
    assert provider.payments == {"pay_1": "created"}


async def test_a_read_is_recorded_once(database: Database, provider: Provider) -> None:
    step = CountProducts(database, lambda: None)
    assert [await step.do(CALL) for _ in range(2)] == [Payment(amount=0)] * 2
    assert await products(database) == ["counted"]


async def test_a_new_attempt_of_a_read_takes_over_and_the_old_one_writes_nothing(
    database: Database, provider: Provider
) -> None:
    newer = CountProducts(database, lambda: None)
    older = CountProducts(database, lambda: asyncio.create_task(newer.do(CALL)))
    with pytest.raises(StepInProgress):
        await older.do(CALL)
    assert await products(database) == ["counted"]


async def test_of_two_attempts_of_a_read_that_finish_the_first_result_counts(
    database: Database, provider: Provider
) -> None:
    step = CountProducts(database, lambda: None)
    read = step.query

    async def overtaken(attempt: Attempt[OrderRef, int]) -> Payment:
        result = await read(attempt)
        async with database.transaction() as tx:
            await ledger.record_result(tx, KEY, Payment(amount=7))
        return result

    step.query = overtaken  # type: ignore[method-assign]
    assert await step.do(CALL) == Payment(amount=7)
