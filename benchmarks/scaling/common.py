"""What all parts of `benchmarks/scale.py` use: the programs of a shop, their progress and their tables."""

import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import MappingProxyType

import psutil
from temporalio.client import Client

from benchmarks.compare import Programs, Servers
from benchmarks.measuring import Engine, request


def show(progress: str) -> None:
    """Print what is going on, with the time and the machine's load."""
    print(f"{time.strftime('%H:%M:%S')} load {psutil.getloadavg()[0]:.1f}  {progress}", file=sys.stderr, flush=True)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


@asynccontextmanager
async def programs_in_folder() -> AsyncIterator[tuple[Programs, Path, AsyncExitStack]]:
    """Yield what starts programs, their folder, and the stack that ends them all."""
    async with AsyncExitStack() as exits:
        folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="scale ", ignore_cleanup_errors=True)))
        folder.chmod(0o755)
        show("start the servers")
        yield Programs(exits, folder), folder, exits


async def start_worker(
    programs: Programs, shop: Servers, name: str, prefix: str, own: Mapping[str, str] = MappingProxyType({})
) -> Engine:
    """Start a worker and a client for the servers of a shop; `own`: their variables for others than these."""
    environment = shop.environment | own
    worker = await programs.start("shop", "worker", **environment)
    client = await programs.start("shop", "client", str(worker.pid), **environment)
    processes = (await request(client))["processes"] | shop.processes | shop.stand_ins
    runs = await Client.connect(environment["TEMPORAL_ADDRESS"])
    return Engine(name, prefix, client, processes, environment["COMMERCE_DATABASE_URL"], shop.folder, runs)
