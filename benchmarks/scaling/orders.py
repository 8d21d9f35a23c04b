"""Orders of many lines next to orders of ten, and orders that a job starts next to those that are started directly."""

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from statistics import median

from benchmarks.compare import start_servers
from benchmarks.jobs import longest_history
from benchmarks.scaling.common import programs_in_folder, show, start_worker, table
from benchmarks.seeded_shop import PRODUCTS, Bench, Memory
from benchmarks.waits import FULFILLED, each_of
from commerce.messages.pending_orders import PendingOrders
from starter.client import start_order

FEW_LINES, MANY_LINES, VARIANTS, MAX_RATIO = 10, 1_112, 2_000, 3
OPEN = """
    UPDATE orders SET fulfillment_status = 'not_fulfilled' WHERE CAST(substr(id, 2) AS int) BETWEEN :first AND :last
"""


async def lines(options: argparse.Namespace) -> str:
    """Return the table for orders of few and of many lines, one at a time and four at once."""
    async with programs_in_folder() as (programs, folder, _):
        shop = await start_servers(programs, folder / "shop", variants=VARIANTS)
        few = await start_worker(programs, shop, f"{FEW_LINES} lines", "few")
        few.lines, few.variants = FEW_LINES, VARIANTS
        many = replace(few, name=f"{MANY_LINES:,} lines", prefix="many", lines=MANY_LINES, figures=defaultdict(list))
        for number in range(options.rounds + 1):  # the first one warms up
            for at_once in (1, 4):
                for engine in (few, many):
                    await engine.run(number, at_once, options.size)
                    show(f"round {number}, {at_once} at once, {engine.name}: {engine.figures[at_once][-1].short()}")
        rows = []
        for at_once in (1, 4):
            measured = []
            for engine in (few, many):
                figures = engine.figures[at_once][1:]
                measured.append([median(one.total_cpu for one in figures), median(one.milliseconds for one in figures)])
            for name, *values in zip(("CPU ms per order", "from start to result, ms"), *measured, strict=True):
                ratio = values[1] / values[0]
                rows.append([f"{at_once} at once: {name}", *(f"{value:.0f}" for value in values), f"{ratio:.2f}"])
    return table(["", few.name, many.name, f"ratio (goal: at most {MAX_RATIO})"], rows)


async def pending(options: argparse.Namespace) -> str:
    """Return the table for orders that wait until the job or a caller starts them; the first round warms up."""
    size, rounds = options.size, options.rounds
    measured: Mapping[str, list[tuple[float, float, Memory]]] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="scale ", ignore_cleanup_errors=True) as folder:
        show("start the servers")
        async with Bench(Path(folder)) as bench:

            async def by_job(_first: int, _last: int) -> None:
                await bench.run("process-pending-orders", PendingOrders())

            async def directly(first: int, last: int) -> None:
                await each_of(size, lambda order_id: start_order(bench.client, order_id), first=first)
                await bench.until(FULFILLED, last)

            await bench.create_goods(PRODUCTS)
            total = (2 * rounds + 1) * size
            await bench.create_orders(total, customers=size, days=1, lines=1, status="fulfilled_elsewhere")
            ways: dict[str, Callable[[int, int], Awaitable[None]]] = {
                "by the job": by_job,
                "started directly": directly,
            }
            for number, name in enumerate(["started directly", *list(ways) * rounds]):  # warms up
                first, last = number * size + 1, (number + 1) * size
                await bench.sql(OPEN, first=first, last=last)
                memory, cpu, started = Memory(bench.worker), bench.cpu_seconds(), time.perf_counter()
                async with memory:
                    await ways[name](first, last)
                seconds = time.perf_counter() - started
                await bench.until(FULFILLED, last)
                cpu = (bench.cpu_seconds() - cpu) * 1000 / size
                show(f"{size:,} orders {name}: {size / seconds:.1f}/s, {cpu:.0f} ms CPU per order, {memory}")
                if number:
                    measured[name].append((size / seconds, cpu, memory))
            longest = await longest_history(bench.client, "process-pending-orders")
    rows = []
    for name, each in measured.items():
        memories = [f"{median(getattr(one[2], when) for one in each):.0f}" for when in ("before", "peak", "after")]
        rows.append([name, f"{median(one[0] for one in each):.1f}", f"{median(one[1] for one in each):.0f}", *memories])
    head = [
        f"{size:,} orders",
        "orders/s",
        "CPU ms per order",
        *(f"worker, MiB {when}" for when in ("before", "peak", "after")),
    ]
    return f"{table(head, rows)}\n\nThe longest history of the job has {longest:,} events."
