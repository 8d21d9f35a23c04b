"""Restate: a server, an application that it calls, and a client that starts one workflow per order and awaits it."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import hypercorn.asyncio
import hypercorn.config
import restate

from benchmarks.engines.service import serve
from benchmarks.engines.steps import POOL, steps_of
from commerce.database import Database

CLIENTS = httpx.Limits(max_connections=200, max_keepalive_connections=200)


def application(database_url: str) -> Any:
    steps = steps_of(Database(database_url, pool_size=POOL))
    orders = restate.Workflow("Orders")

    @orders.main()
    async def process(context: restate.WorkflowContext, order_id: str) -> None:
        for name, step in steps.items():
            await context.run_typed(name, step, order_id=order_id)

    return restate.app([orders])


async def run_application(database_url: str, port: int) -> None:
    config = hypercorn.config.Config()
    config.bind, config.accesslog, config.errorlog = [f"127.0.0.1:{port}"], None, None
    config.h2_max_concurrent_streams = 1_000
    await hypercorn.asyncio.serve(application(database_url), config)


async def main(database_url: str, server: str, folder: str, ports: list[int]) -> None:
    ingress, admin, node, app_port = ports
    variables = {
        "RESTATE_BASE_DIR": folder,
        "RESTATE_LISTEN_MODE": "tcp",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_LOG_FILTER": "error",
        "DO_NOT_TRACK": "1",
    }
    with (Path(folder) / "restate.log").open("w") as log:
        engine = await asyncio.create_subprocess_exec(server, env=os.environ | variables, stdout=log, stderr=log)
        app = await asyncio.create_subprocess_exec(
            sys.executable, "-m", __spec__.name, database_url, str(app_port), stdout=log, stderr=log
        )
    try:
        async with httpx.AsyncClient(limits=CLIENTS, timeout=120) as http:
            await _register(http, f"http://127.0.0.1:{admin}/deployments", f"http://127.0.0.1:{app_port}")

            async def process(order_id: str) -> None:
                url = f"http://127.0.0.1:{ingress}/Orders/{order_id}/process"
                (await http.post(url, json=order_id)).raise_for_status()

            await serve(process, server=engine.pid, app=app.pid)
    finally:
        for child in (app, engine):  # nothing of them is kept
            child.kill()
            await child.wait()


async def _register(http: httpx.AsyncClient, deployments: str, app: str) -> None:
    """Register the application as soon as it and the server answer."""
    async with asyncio.timeout(60):
        while True:
            try:
                (await http.post(deployments, json={"uri": app})).raise_for_status()
            except httpx.HTTPError:
                await asyncio.sleep(0.2)
            else:
                return


if __name__ == "__main__":
    url, *rest = sys.argv[1:]
    if len(rest) == 1:
        asyncio.run(run_application(url, int(rest[0])))
    else:
        asyncio.run(main(url, rest[0], rest[1], [int(port) for port in rest[2:]]))
