"""Two returns of one line, and a receipt against the deadline: 200 tries each, right every time (R1, R3, W2)."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from activities.returns import ReturnActivities
from commerce import fulfillment, generations, inventory, waits
from commerce.database import Database
from commerce.errors import PermanentError
from commerce.messages.base import Message
from commerce.messages.returns import (
    AWAIT,
    Item,
    NewReturn,
    ReceivedUnits,
    ReturnReceipt,
    return_process_id,
)
from commerce.messages.steps import Call, StepKey
from commerce.messages.waits import Answer, CloseWait, OpenWait, WaitKey
from tests.commerce.shop import NOON, Shop

TRIES = 200
AT_ONCE = 4  # tries
NO_NOTIFIER: Any = None
RUN = "run"
COUNTS = "SELECT sum(returned_quantity), sum(returning_quantity) FROM order_lines"


class Bench:
    """The activities of `return-order`, without Temporal and without a carrier; each order has one unit."""

    def __init__(self, database: Database) -> None:
        self.shop = Shop(database)
        self.returns = ReturnActivities(database, {}, "none", NO_NOTIFIER, 30)

    async def race(self, run: Callable[[str, float], Awaitable[list[str]]]) -> list[list[str]]:
        """Run all tries, each with a fulfilled order of its own and another delay, in seconds; return the outcomes."""
        await self.shop.stock("MUG", main=TRIES)
        free = asyncio.Semaphore(AT_ONCE)

        async def attempt(number: int) -> list[str]:
            order_id = str(number)
            async with free:
                await self.shop.order(order_id, MUG=1)
                await self.shop.call(inventory.reserve, order_id)
                await self.shop.call(fulfillment.create, order_id)
                await self.shop.sql("UPDATE orders SET fulfillment_status = 'fulfilled' WHERE id = :id", id=order_id)
                return await run(order_id, number % 25 * 0.0005)

        return await asyncio.gather(*(attempt(number) for number in range(TRIES)))

    async def register(self, order_id: str, return_id: str) -> str:
        await self.shop.call(generations.take_over, return_process_id(return_id), RUN)
        options: dict[str, Any] = {"label": False, "refund": True, "refund_shipping": False}
        wanted = NewReturn(order_id=order_id, return_id=return_id, items=[Item(sku="MUG", quantity=1)], **options)
        return await outcome(self.returns.register(call(return_id, "register-return", wanted, "close-return")))

    async def receive(self, order_id: str, return_id: str) -> str:
        units = ReceivedUnits(order_id=order_id, return_id=return_id, receipt=ReturnReceipt(everything=True))
        return await outcome(self.returns.receive(call(return_id, "receive-return", units)))

    async def close(self, order_id: str, return_id: str) -> str:
        options: dict[str, Any] = {"label": False, "refund": True, "refund_shipping": False}
        wanted = NewReturn(order_id=order_id, return_id=return_id, items=[], **options)
        return await outcome(self.returns.close(call(return_id, "register-return", wanted, "close-return")))


def call(return_id: str, step: str, value: Message, undo: str | None = None) -> Call[Any]:
    key = StepKey(business_key=return_process_id(return_id), step=step, generation=RUN)
    return Call(key=key, input=value, undo=undo)


async def outcome(step: Awaitable[object]) -> str:
    """Return `done`, or the type of the error."""
    try:
        await step
    except PermanentError as error:
        return type(error).__name__
    return "done"


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


async def test_of_two_returns_of_one_unit_one_is_registered(bench: Bench) -> None:  # (R1)
    async def run(order_id: str, delay: float) -> list[str]:
        async def second() -> str:
            await asyncio.sleep(delay)
            return await bench.register(order_id, f"{order_id}-b")

        return list(await asyncio.gather(bench.register(order_id, f"{order_id}-a"), second()))

    outcomes = await bench.race(run)
    assert {tuple(sorted(each)) for each in outcomes} == {("BadInput", "done")}
    assert await bench.shop.sql(COUNTS) == [(0, TRIES)]
    for number in range(TRIES):
        for letter in "ab":
            if outcomes[number]["ab".index(letter)] == "done":
                assert await bench.receive(str(number), f"{number}-{letter}") == "done"
    assert await bench.shop.sql(COUNTS) == [(TRIES, 0)]
    assert await bench.shop.levels("MUG") == {"main": (TRIES, 0)}
    assert await bench.shop.breaches() == []


async def test_a_receipt_that_meets_the_deadline_counts_or_is_refused(bench: Bench) -> None:  # (R3, W2)
    async def run(order_id: str, delay: float) -> list[str]:
        key = WaitKey(business_key=return_process_id(order_id), step=AWAIT, generation=RUN)
        opened = OpenWait(key=key, asked_at=NOON, until=NOON + timedelta(days=30))
        assert await bench.register(order_id, order_id) == "done"
        await bench.shop.call(waits.open_wait, opened)

        late, early = (delay, 0.0) if int(order_id) % 2 else (0.0, delay)

        async def warehouse() -> str:
            await asyncio.sleep(early)
            answer = Answer(answer="success", data={"everything": True})
            return await outcome(bench.shop.call(waits.record, key, answer, by="test", idempotency_key=None))

        async def process() -> str:
            await asyncio.sleep(late)
            ended = await bench.shop.call(waits.close, CloseWait(**dict(opened), end="expired"))
            work = bench.receive if ended.kind == "success" else bench.close
            assert await work(order_id, order_id) == "done"
            return ended.kind

        return list(await asyncio.gather(warehouse(), process()))

    outcomes = await bench.race(run)
    assert {tuple(each) for each in outcomes} == {("done", "success"), ("WaitOver", "expired")}
    back = sum(each[0] == "done" for each in outcomes)
    assert await bench.shop.sql(COUNTS) == [(back, 0)]
    assert await bench.shop.levels("MUG") == {"main": (back, 0)}
    assert await bench.shop.breaches() == []
