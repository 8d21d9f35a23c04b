"""The whole shop. `stack FOLDER` runs its servers, `worker` its worker, and `client` starts orders.

An order whose id starts with `noop` has no-op steps instead of label and mail, like those of the other engines.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

import worker
from benchmarks.engines.service import serve
from commerce.messages.notifications import SendOutcome
from commerce.messages.orders import Label
from commerce.settings import load_environment
from starter.client import connect, process_order
from starter.devstack import data_folder, postgres
from starter.devstack.stack import Stack
from starter.telemetry.exit import exit_process

NO_OP = "noop"
ANSWERS = {
    "create-shipping-label": Label(shipment_id="shp_1", tracking_number="1"),
    "send-notification": SendOutcome(status="sent"),
}


class NoExternalSteps(Interceptor):
    """Answers label and mail of `noop` orders without doing anything."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:  # noqa: A002
        return _NoExternalSteps(next)


class _NoExternalSteps(ActivityInboundInterceptor):
    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002 - the SDK's own name
        info = activity.info()
        answer = ANSWERS.get(info.activity_type)
        if answer is not None and (info.workflow_id or "").startswith(f"order-processing-{NO_OP}"):
            return answer
        return await super().execute_activity(input)


async def run_stack(folder: Path) -> None:
    """Run all servers but the worker until standard input ends, and print their description."""
    data_folder.create(folder)
    postgres.prepare(folder)
    async with Stack(folder, port=0, worker=False, schedules=False, echo=lambda _: None) as stack:
        sys.stdout.write(json.dumps(stack.description) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.readline)


async def run_client(pid: int) -> None:
    client = await connect(load_environment())
    await serve(lambda order_id: process_order(client, order_id), worker=pid)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["stack", folder]:
            asyncio.run(run_stack(Path(folder)))
        case ["worker"]:
            worker.main([NoExternalSteps()])
        case ["client", pid]:
            asyncio.run(run_client(int(pid)))
            exit_process(0)
