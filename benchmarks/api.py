"""Measure the response times of an idle API: `python benchmarks/api.py DIR ORDER_ID [N]`.

DIR is the data folder of `commerce up`, ORDER_ID a paid order of its shop. The order is processed once. Then, N times
(default 200), it is processed again by a Temporal client and over HTTP, and its status is read. Prints medians in
milliseconds.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from commerce.messages.orders import order_process_id
from commerce.settings import load_environment, load_settings, read_stack
from starter.client import connect, start_order
from starter.telemetry.exit import exit_process

WARM_UP, TIMES = 10, 200


async def main(data_dir: Path, order_id: str, times: int) -> None:
    environment = load_environment(data_dir)
    client = await connect(environment)
    tokens = [token.get_secret_value() for token in load_settings(environment).api_tokens]
    headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
    url = read_stack(data_dir)["api_url"]
    body = {"workflow_id": "order-processing", "input": {"order_id": order_id}}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:

        async def process_by_client() -> None:
            await (await start_order(client, order_id)).result()

        async def process_over_http() -> None:
            (await http.post("/workflows/execute", json=body)).raise_for_status()

        async def read_status() -> None:
            (await http.get(f"/workflows/{order_process_id(order_id)}")).raise_for_status()

        seconds = await _measure_in_turns(times, process_by_client, process_over_http, read_status)
    by_client, over_http, status = (statistics.median(each) * 1000 for each in seconds)
    print(f"GET /workflows/{{transaction_id}}: {status:.1f} ms")
    overhead = over_http - by_client
    print(f"POST /workflows/execute: {over_http:.1f} ms; by a client: {by_client:.1f} ms; overhead: {overhead:.1f} ms")


async def _measure_in_turns(times: int, *calls: Callable[[], Awaitable[Any]]) -> list[list[float]]:
    """Run the calls in turns and return the seconds that each run took, without the warm-up."""
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(WARM_UP + times):
        for call, seconds in zip(calls, taken, strict=True):
            started = time.perf_counter()
            await call()
            seconds.append(time.perf_counter() - started)
    return [seconds[WARM_UP:] for seconds in taken]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else TIMES))
    exit_process(0)
