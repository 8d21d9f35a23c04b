"""Measure what orders cost that wait: `python benchmarks/waits.py PART [--size N]`.

PART is `review` (N orders wait for a review, everything is restarted, and all are approved at once) or `outage` (N
orders wait for a carrier that answers 500 for some minutes). Memory and CPU while orders wait are compared with those
after as many orders that did not wait, in the same run.

An answer counts as soon as it is recorded, and its process takes it when a worker has time for it, while orders that
were answered before go on. Both are measured, with the CPU time, which other programs on this machine change least.
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

ORDERS, MAX_RATIO, MAX_ANSWER_SECONDS = 1_000, 1.1, 60
LOW = "UPDATE orders SET total = 50 WHERE CAST(substr(id, 2) AS int) > :size"  # below the limit of reviews
FULFILLED = "SELECT count(*) FROM orders WHERE fulfillment_status = 'fulfilled'"
WAITING = "SELECT count(*) FROM step_waits WHERE kind IS NULL"
TAKEN = "SELECT count(*) FROM step_waits WHERE delivered_at IS NOT NULL"
AT_ONCE = 30
ANSWERS_AT_ONCE = 200  # people, who do not wait for each other
OUTAGE_MINUTES = 4
SETTINGS = {"review": {"COMMERCE_REVIEW_ABOVE": "GBP=1"}}


async def review(bench: Bench, size: int) -> bool:
    await bench.create_goods(PRODUCTS)
    await bench.create_orders(2 * size, customers=size, days=1, lines=1, status="not_fulfilled")
    await bench.sql(LOW, size=size)
    none = Memory(bench.worker)
    async with none:
        await each_of(size, lambda order_id: start_order(bench.client, order_id), first=size + 1)
        await bench.until(FULFILLED, size)
        idle_none = await bench.idle_cpu()
    waiting = Memory(bench.worker)
    async with waiting:
        await each_of(size, lambda order_id: start_order(bench.client, order_id))
        await bench.until(WAITING, size)
        idle = await bench.idle_cpu()
    ratio, idle_ratio = waiting.after / none.after, idle / idle_none
    print(f"{size:,} orders did not wait: {none}; {size:,} orders wait: {waiting}; ratio {ratio:.2f}")
    print(
        f"CPU of all processes while nothing happens: {idle_none:.1f} % with none, {idle:.1f} % with {size:,}, ", end=""
    )
    print(f"ratio {idle_ratio:.2f}", flush=True)
    await bench.restart()
    await bench.until(WAITING, size)
    approval = Answer(answer="success")

    async def approve(order_id: str) -> None:
        process_id = order_process_id(order_id)
        await answer(bench.client, bench.database, process_id, "review-order", approval, by="bench")

    started, cpu_before = time.perf_counter(), bench.cpu_seconds()
    await each_of(size, approve, at_once=ANSWERS_AT_ONCE)
    answered = time.perf_counter() - started
    await bench.until(TAKEN, size)
    taken, cpu = time.perf_counter() - started, bench.cpu_seconds() - cpu_before
    await bench.until(FULFILLED, 2 * size)
    fulfilled = time.perf_counter() - started
    print(f"{size:,} approved after everything was restarted: all who answered knew it after {answered:.0f} s,")
    print(f"processes had all answers after {taken:.0f} s ({cpu:.0f} s of CPU), and were done after {fulfilled:.0f} s")
    return max(ratio, idle_ratio) <= MAX_RATIO and taken <= MAX_ANSWER_SECONDS


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
    await bench.until(FULFILLED, size)
    print(f"all fulfilled {time.perf_counter() - started:.0f} s after the outage")
    return True


async def each_of(
    size: int, act: Callable[[str], Awaitable[object]], *, first: int = 1, at_once: int = AT_ONCE
) -> None:
    """Do something for each order from the `first` on, `at_once` of them at a time."""
    ids = iter(range(first, first + size))

    async def some() -> None:
        for number in ids:
            await act(f"O{number}")

    await asyncio.gather(*(some() for _ in range(at_once)))


PARTS = {"review": (review, ORDERS), "outage": (outage, ORDERS)}

if __name__ == "__main__":
    measure(__doc__, PARTS, SETTINGS)
