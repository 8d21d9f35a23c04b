"""Measure what orders cost that wait: `python benchmarks/waits.py PART [--size N]`.

PART is `review` (N orders wait for a review, everything is restarted, and all are approved at once) or `outage` (N
orders wait for a carrier that answers 500 for some minutes).
"""

import asyncio
import time
from collections.abc import Awaitable, Callable

import httpx

from benchmarks.seeded_shop import IDLE, PRODUCTS, SETTLE, Bench, Memory, measure
from commerce.messages.orders import order_process_id
from commerce.messages.waits import Answer
from starter.client import start_order
from starter.operate.answers import answer

ORDERS, MAX_WAITING_MIB, MAX_ANSWER_SECONDS = 1_000, 250, 60
AT_ONCE = 30
OUTAGE_MINUTES = 4
SETTINGS = {"review": {"COMMERCE_REVIEW_ABOVE": "GBP=1"}}


async def review(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size, customers=size, days=1, lines=1, status="not_fulfilled")
    await start_order(bench.client, "none")  # the worker has loaded everything
    idle_before, memory = await bench.idle_cpu(), Memory(bench.worker)
    async with memory:
        await each_of(size, lambda order_id: start_order(bench.client, order_id))
        await bench.until("SELECT count(*) FROM step_waits WHERE kind IS NULL", size)
    idle = await bench.idle_cpu()
    print(f"{size:,} orders wait: {memory}")
    print(f"CPU of all processes while nothing happens: {idle_before:.1f} % before, {idle:.1f} % with them", flush=True)
    await bench.restart()
    approval = Answer(answer="success")

    async def approve(order_id: str) -> None:
        process_id = order_process_id(order_id)
        await answer(bench.client, bench.database, process_id, "review-order", approval, by="bench")

    started = time.perf_counter()
    await each_of(size, approve)
    answered = time.perf_counter() - started
    await bench.until("SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'", size)
    seconds = time.perf_counter() - started
    print(f"{size:,} approved in {answered:.0f} s and fulfilled in {seconds:.0f} s after everything was restarted")
    return memory.peak <= MAX_WAITING_MIB and answered <= MAX_ANSWER_SECONDS


async def outage(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(size, customers=size, days=1, lines=1, status="not_fulfilled")
    async with httpx.AsyncClient(base_url=bench.carrier_url, timeout=60) as http:
        fault = {"operation": "create", "fault": "500", "times": None}
        (await http.post("/trial/faults", json=fault)).raise_for_status()
        await each_of(size, lambda order_id: start_order(bench.client, order_id))
        await bench.until("SELECT count(*) FROM fulfillments", size)
        for _ in range(OUTAGE_MINUTES):
            print(f"CPU of all processes while {size:,} orders wait: {await bench.idle_cpu():.1f} %", flush=True)
            await asyncio.sleep(60 - SETTLE - IDLE)
        (await http.delete("/trial/faults")).raise_for_status()
    started = time.perf_counter()
    await bench.until("SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'", size)
    print(f"all fulfilled {time.perf_counter() - started:.0f} s after the outage")
    return True


async def each_of(size: int, act: Callable[[str], Awaitable[object]]) -> None:
    """Do something for each order, some at once."""
    ids = iter(range(1, size + 1))

    async def some() -> None:
        for number in ids:
            await act(f"O{number}")

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))


PARTS = {"review": (review, ORDERS), "outage": (outage, ORDERS)}

if __name__ == "__main__":
    measure(__doc__, PARTS, SETTINGS)
