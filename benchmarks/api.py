"""Times the API of a running stack while it is idle: `python benchmarks/api.py DIR ORDER_ID [N]`.

DIR is the data folder of `commerce up`, ORDER_ID a paid order of its shop: it is processed, and then asked for and
processed again N times (default 200), over HTTP and by a Temporal client in turns. Prints medians in milliseconds.
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

FEW, MANY = 10, 200


async def main(data_dir: Path, order_id: str, times: int) -> None:
    environment = load_environment(data_dir)
    client = await connect(environment)
    tokens = [token.get_secret_value() for token in load_settings(environment).api_tokens]
    headers = {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}
    url = read_stack(data_dir)["api_url"]
    body = {"workflow_id": "order-processing", "input": {"order_id": order_id}}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60, trust_env=False) as http:

        async def by_client() -> None:
            await (await start_order(client, order_id)).result()

        async def by_http() -> None:
            (await http.post("/workflows/execute", json=body)).raise_for_status()

        async def status() -> None:
            (await http.get(f"/workflows/{order_process_id(order_id)}")).raise_for_status()

        taken = await _in_turns(times, by_client, by_http, status)
    alone, over_http, asking = (statistics.median(seconds) * 1000 for seconds in taken)
    print(f"GET /workflows/{{transaction_id}}: {asking:.1f} ms")
    print(f"POST /workflows/execute: {over_http:.1f} ms, by a client {alone:.1f} ms: adds {over_http - alone:.1f} ms")


async def _in_turns(times: int, *asked: Callable[[], Awaitable[Any]]) -> list[list[float]]:
    """Return the seconds that each took, time after time, once all are warm."""
    taken: list[list[float]] = [[] for _ in asked]
    for _ in range(FEW + times):
        for ask, seconds in zip(asked, taken, strict=True):
            began = time.perf_counter()
            await ask()
            seconds.append(time.perf_counter() - began)
    return [seconds[FEW:] for seconds in taken]


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else MANY))
    exit_process(0)
