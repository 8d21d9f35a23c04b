"""Measure how long pages of the console take in a large shop: `python -m benchmarks.console [ORDERS]`.

It seeds an embedded shop with ORDERS orders (default 1,000,000), of which some are on hold, open or not paid. It opens
each page 21 times, and prints the medians without the first, in milliseconds.
"""

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path

import httpx

from benchmarks.seeded_shop import PRODUCTS, Bench
from starter.telemetry.exit import exit_process

ORDERS, TIMES = 1_000_000, 20
MIX = """
    UPDATE orders SET fulfillment_status = CASE WHEN n % 2 = 0 THEN fulfillment_status ELSE 'not_fulfilled' END,
           hold_reason = CASE WHEN n % 8 = 1 THEN 'rejected' END,
           payment_status = CASE WHEN n % 8 = 3 THEN 'awaiting' ELSE payment_status END,
           shipping_name = 'Ann Lee ' || n
    FROM (SELECT id AS order_id, abs(hashtext(id)) % 400 AS n FROM orders) AS mixed WHERE order_id = id AND n < 40
"""
PAGES = (
    *("/", "/orders", "/orders?status=on_hold", "/orders?status=fulfilled", "/orders?search=lee"),
    *("/orders?search=customer-7@customer.example", "/orders?since=2026-03-10&until=2026-03-11", "/orders/O7"),
    *("/returns", "/processes", "/stock", "/mails", "/customers", "/reports", "/jobs", "/webhooks"),
)


async def main(orders: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with Bench(Path(folder)) as bench:
            await bench.create_goods(PRODUCTS)
            await bench.create_orders(orders, customers=orders // 10, days=30, lines=1, status="fulfilled")
            await bench.sql(MIX)
            await bench.sql("ANALYZE")
            url = bench.description["console_url"]
            async with httpx.AsyncClient(timeout=60, trust_env=False) as http:
                for page in PAGES:
                    print(f"{page:50} {await _median(http, url + page):6.0f} ms", flush=True)


async def _median(http: httpx.AsyncClient, url: str) -> float:
    taken = []
    for _ in range(TIMES + 1):
        started = time.perf_counter()
        (await http.get(url)).raise_for_status()
        taken.append((time.perf_counter() - started) * 1000)
        await asyncio.sleep(0.05)
    return statistics.median(taken[1:])


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else ORDERS))
    exit_process(0)
