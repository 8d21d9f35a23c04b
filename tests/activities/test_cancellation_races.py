"""An order is cancelled while it is processed, or twice at once: 200 tries each, right every time (B1, B2, P1)."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from activities.cancellations import CancellationActivities
from activities.fulfillment import FulfillmentActivities
from activities.inventory import InventoryActivities
from activities.orders import OrderActivities
from activities.payments import PaymentActivities
from commerce import generations, orders
from commerce.database import Database
from commerce.errors import OrderCancelled, PermanentError, StaleGeneration
from commerce.integrations.payment_provider import ProviderRefund
from commerce.messages.base import Message
from commerce.messages.cancellations import OrderToCancel, cancel_process_id
from commerce.messages.orders import Completion, FulfillmentRequest, OrderRef, order_process_id
from commerce.messages.payments import RefundRequest
from commerce.messages.steps import Call, StepKey
from tests.commerce.shop import Shop

TRIES = 200
AT_ONCE = 4  # tries
PAID = 250  # minor units
NO_NOTIFIER: Any = None
UNDOABLE = "SELECT count(*) FROM step_ledger WHERE undo IS NOT NULL AND state <> 'undone'"
CANCELLED = "SELECT count(*) FROM orders WHERE cancellation = 'cancelled' AND cancelled_at IS NOT NULL"


class Provider:
    """A payment provider that counts the refunds of each payment."""

    references = ".+"

    def __init__(self) -> None:
        self.refunds: dict[str, set[str]] = {}

    async def capture(self, payment_id: str, amount: int, currency: str, reference: str) -> None:
        raise AssertionError

    async def captured(self, payment_id: str, currency: str) -> int:
        raise AssertionError

    async def release(self, payment_id: str, reference: str) -> None:
        raise AssertionError

    async def look_up_refund(self, refund_id: str) -> ProviderRefund:
        raise AssertionError

    async def refund(self, payment_id: str, amount: int, currency: str, reference: str) -> ProviderRefund:
        assert (amount, currency) == (PAID, "GBP")
        await asyncio.sleep(0)
        self.refunds.setdefault(payment_id, set()).add(reference)
        return ProviderRefund(f"re-{reference}")

    async def close(self) -> None:
        pass


class Bench:
    """The activities of both processes, without Temporal and without a carrier."""

    def __init__(self, database: Database) -> None:
        self.shop, self.provider = Shop(database), Provider()
        self.orders = OrderActivities(database, ZoneInfo("UTC"))
        self.inventory = InventoryActivities(database)
        self.fulfillment = FulfillmentActivities(database, {}, "none")
        self.cancellations = CancellationActivities(database, {}, "none", NO_NOTIFIER)
        self.payments = PaymentActivities(database, {"stripe": self.provider}, NO_NOTIFIER)
        self.undos: dict[str, Callable[[Call[OrderRef]], Awaitable[object]]] = {
            "release-inventory": self.inventory.release,
            "cancel-fulfillment": self.fulfillment.cancel,
        }

    async def process(self, order_id: str) -> str:
        """Do what `order-processing` does; return `fulfilled`, or the type of the error after which it is undone."""
        ref, done = OrderRef(order_id=order_id), []

        def call(step: str, value: Message, undo: str | None = None) -> Call[Any]:
            key = StepKey(business_key=order_process_id(order_id), step=step, generation="processing")
            return Call(key=key, input=value, undo=undo)

        try:
            await self.shop.call(generations.take_over, order_process_id(order_id), "processing")
            await self.shop.call(orders.validate, order_id)
            done.append(reserve := call("reserve-inventory", ref, "release-inventory"))
            await self.inventory.reserve(reserve)
            done.append(
                create := call("create-fulfillment", FulfillmentRequest(order_id=order_id), "cancel-fulfillment")
            )
            await self.fulfillment.create(create)
            await self.orders.complete(call("complete-order", Completion(order_id=order_id)))
        except PermanentError as error:
            for each in reversed(done):
                await self.undos[str(each.undo)](Call(key=each.key, input=ref, undo=each.undo))
            return type(error).__name__
        return "fulfilled"

    async def cancel(self, order_id: str, generation: str = "cancelling") -> str:
        """Do what `cancel-order` does; return `cancelled`, or the type of the error that stopped it."""

        def call(step: str, value: Message) -> Call[Any]:
            key = StepKey(business_key=cancel_process_id(order_id), step=step, generation=generation)
            return Call(key=key, input=value)

        order = OrderToCancel(order_id=order_id)
        try:
            await self.shop.call(generations.take_over, cancel_process_id(order_id), generation)  # the last one may act
            marked = await self.cancellations.mark(call("mark-cancelling", order))
            for step in marked.steps:
                await self.undos[step.undo](Call[OrderRef].model_validate(step.call))
            await self.cancellations.restock(call("restock-order", order))
            await self.payments.refund(call("refund-payment", RefundRequest(order_id=order_id, purpose="cancel-order")))
            await self.cancellations.complete(call("complete-cancellation", order))
        except PermanentError as error:
            return type(error).__name__
        return "cancelled"

    async def race(self, run: Callable[[str, float], Awaitable[list[str]]]) -> list[list[str]]:
        """Run all tries, each with an order of its own and another delay, in seconds; return the outcomes."""
        await self.shop.stock("MUG", main=TRIES)
        free = asyncio.Semaphore(AT_ONCE)

        async def attempt(number: int) -> list[str]:
            order_id = str(number)
            async with free:
                await self.shop.order(order_id, MUG=1, columns={"payment_reference": f"pi_{number}"})
                return await run(order_id, number % 25 * 0.002)

        return await asyncio.gather(*(attempt(number) for number in range(TRIES)))

    async def assert_all_cancelled_once(self) -> None:
        assert await self.shop.sql(CANCELLED) == [TRIES]
        assert await self.shop.levels("MUG") == {"main": (TRIES, 0)}
        assert await self.shop.sql(UNDOABLE) == [0]
        assert await self.shop.breaches() == []
        assert await self.shop.audit() == []
        assert [len(refunds) for refunds in self.provider.refunds.values()] == [1] * TRIES
        assert [kind for kind, *_ in await self.shop.events()].count("order.cancelled") == TRIES


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


async def after(delay: float, work: Awaitable[str]) -> str:
    await asyncio.sleep(delay)
    return await work


async def test_an_order_that_is_cancelled_while_it_is_processed_ends_cancelled(bench: Bench) -> None:  # (B2)
    async def run(order_id: str, delay: float) -> list[str]:
        return list(await asyncio.gather(bench.process(order_id), after(delay, bench.cancel(order_id))))

    outcomes = await bench.race(run)
    assert {cancelled for _, cancelled in outcomes} == {"cancelled"}
    processed = {processed for processed, _ in outcomes}
    assert processed <= {"fulfilled", StaleGeneration.__name__, OrderCancelled.__name__} and len(processed) > 1
    await bench.assert_all_cancelled_once()


async def test_an_order_that_is_cancelled_twice_at_once_is_cancelled_once(bench: Bench) -> None:  # (B1, P1)
    async def run(order_id: str, delay: float) -> list[str]:
        assert await bench.process(order_id) == "fulfilled"
        second = after(delay / 2, bench.cancel(order_id, "second"))
        return list(await asyncio.gather(bench.cancel(order_id, "first"), second))

    outcomes = await bench.race(run)
    assert all("cancelled" in each for each in outcomes)
    assert {each for pair in outcomes for each in pair} == {"cancelled", StaleGeneration.__name__}
    await bench.assert_all_cancelled_once()
