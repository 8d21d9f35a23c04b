"""`commerce worker` with one, two and four processes."""

import argparse
import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping
from statistics import median

import psutil
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

from benchmarks.compare import start_servers
from benchmarks.measuring import Engine, request
from benchmarks.scaling.common import programs_in_folder, show, table
from benchmarks.seeded_shop import MIB
from starter.processes import TASK_QUEUE

IN_FLIGHT, WARM_UP = 100, 20  # orders; workers that have just started get some before they are measured
PARTS = ("all workers", "Temporal", "PostgreSQL")


async def processes(options: argparse.Namespace) -> str:
    """Return the table; in each round the command is started anew with each number of processes."""
    async with programs_in_folder() as (programs, folder, _):
        shop = await start_servers(programs, folder / "shop")
        environment, url = shop.environment, shop.description["database_url"]
        client = await programs.start("shop", "client", str(os.getpid()), **environment)
        await request(client)
        runs = await Client.connect(shop.description["temporal_address"])
        engines = {count: Engine(f"{count}", f"p{count}", client, {}, url, shop.folder) for count in (1, 2, 4)}
        memory: Mapping[int, list[float]] = defaultdict(list)
        for number in range(options.rounds):
            for count, engine in engines.items():
                command = ("starter", "worker", "--processes", str(count))
                program = await programs.run("commerce-worker", *command, **environment)
                workers = await polling_workers(runs, program.pid, count)
                own = {f"worker {place}": worker.pid for place, worker in enumerate(workers)}
                engine.processes = own | shop.processes | shop.stand_ins
                await engine.run(number, WARM_UP, 2 * WARM_UP * count)
                await engine.run(number, IN_FLIGHT, options.size)
                memory[count].append(sum(worker.memory_info().rss for worker in workers) / MIB)
                program.terminate()
                await program.wait()
                show(f"round {number}, {count} processes: {engine.figures[IN_FLIGHT][-1].short()}")
        rows = [[count, *costs(engine), f"{median(memory[count]):.0f}"] for count, engine in engines.items()]
    head = ["worker processes", "orders/s at 100 in flight", "CPU ms per order", *PARTS, "memory of all workers, MiB"]
    return table(head, rows)


def costs(engine: Engine) -> list[str]:
    """Return the rate, the CPU time, and that of all workers, Temporal and PostgreSQL."""
    figures = engine.figures[IN_FLIGHT]
    rate, total = median(one.rate for one in figures), median(one.total_cpu for one in figures)

    def part(name: str) -> str:
        return f"{median(sum(ms for of, ms in one.cpu.items() if of.startswith(name)) for one in figures):.1f}"

    return [f"{rate:.1f}", f"{total:.0f}", *map(part, ("worker", "temporal", "postgres"))]


async def polling_workers(client: Client, pid: int, count: int) -> list[psutil.Process]:
    """Wait until all workers of `commerce worker` poll; return them. A single worker has replaced the command."""
    queue = TaskQueue(name=TASK_QUEUE)
    kind = TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    ask = DescribeTaskQueueRequest(namespace=client.namespace, task_queue=queue, task_queue_type=kind)
    async with asyncio.timeout(120):
        while True:
            command = psutil.Process(pid)
            workers = [command] if count == 1 else command.children()
            answer = await client.workflow_service.describe_task_queue(ask)
            polling = {poller.identity.partition("@")[0] for poller in answer.pollers}
            if len(workers) == count and {str(worker.pid) for worker in workers} <= polling:
                return workers
            await asyncio.sleep(0.2)
