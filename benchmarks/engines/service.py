"""How `benchmarks/compare.py` drives an engine: it sends orders as JSON lines, and gets their times as JSON lines."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any


async def serve(process: Callable[[str], Awaitable[object]], **processes: int) -> None:
    """Process orders until standard input ends. `processes`: ids of the engine's other processes by name."""
    _answer({"processes": processes})
    while line := await asyncio.to_thread(sys.stdin.readline):
        request = json.loads(line)
        _answer(await _run(process, request["orders"], request["at_once"]))


async def _run(process: Callable[[str], Awaitable[object]], orders: list[str], at_once: int) -> dict[str, Any]:
    slots, seconds = asyncio.Semaphore(at_once), []

    async def measured(order_id: str) -> None:
        async with slots:
            started = time.perf_counter()
            await process(order_id)
            seconds.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*map(measured, orders))
    return {"duration": time.perf_counter() - started, "seconds": seconds}


def _answer(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
