"""Temporal's floor: a workflow with no-op steps, without converter, encryption, interceptors and sandbox.

`worker` and `client` are programs of their own, as in the shop. The steps are in the id of a run, in their order:
`local4-remote1-local2-…`.
"""

import asyncio
import os
import re
import sys
from datetime import timedelta

from temporalio import activity, workflow
from temporalio.client import Client
from temporalio.worker import PollerBehaviorAutoscaling, UnsandboxedWorkflowRunner, Worker

from benchmarks.engines.service import serve
from starter.telemetry.exit import exit_process

QUEUE = "floor"
ATTEMPT = timedelta(seconds=15)


@activity.defn
async def nothing(_order_id: str) -> None:
    """Do nothing."""


@workflow.defn
class Floor:
    """Runs no-op steps one after the other."""

    @workflow.run
    async def run(self, steps: list[str]) -> None:
        for kind in steps:
            execute = workflow.execute_local_activity if kind == "local" else workflow.execute_activity
            await execute(nothing, "1001", start_to_close_timeout=ATTEMPT)


async def run_worker(address: str) -> None:
    worker = Worker(
        await Client.connect(address),
        task_queue=QUEUE,
        workflows=[Floor],
        activities=[nothing],
        workflow_runner=UnsandboxedWorkflowRunner(),
        workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
        activity_task_poller_behavior=PollerBehaviorAutoscaling(),
    )
    await worker.run()


async def run_client(address: str, pid: int) -> None:
    client = await Client.connect(address)

    async def process(order_id: str) -> None:
        steps = [kind for kind, count in re.findall(r"(local|remote)(\d+)", order_id) for _ in range(int(count))]
        await client.execute_workflow(Floor.run, steps, id=order_id, task_queue=QUEUE)

    await serve(process, worker=pid)


if __name__ == "__main__":
    os.environ.pop("TEMPORAL_ADDRESS", None)
    match sys.argv[1:]:
        case ["worker", address]:
            asyncio.run(run_worker(address))
        case ["client", address, pid]:
            asyncio.run(run_client(address, int(pid)))
            exit_process(0)
