"""Embedded stacks in processes of their own, to be backed up, killed and brought up again; carrier and mail stay."""

import asyncio
import email
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from temporalio.client import Client

from commerce.database import Database
from commerce.settings import load_environment, load_settings
from starter.client import connect
from starter.devstack import mail, orphans
from starter.devstack.carrier import server as carrier
from tests.commerce.shop import Shop
from tests.paths import ROOT
from tests.running_shop import carrier_client
from tests.system.workers import wait_until

SECONDS = 120


@dataclass
class World:
    """What stands outside of the shop: it forgets nothing when the shop is restored."""

    folder: Path
    carrier_url: str
    environment: Mapping[str, str]

    async def labels(self) -> Counter[str]:
        """Count the labels that are bought and not refunded, by order."""
        async with carrier_client(self.carrier_url) as http:
            found = (await http.get("/trial/labels")).json()["labels"]
        return Counter(label["order_id"] for label in found if label["refund_status"] is None)

    async def sell_nothing(self, order_ids: Iterable[str]) -> None:
        """Have the carrier fail whenever it is to sell a label for these orders."""
        fault = {"operation": "buy", "fault": "500", "times": 1000}
        async with carrier_client(self.carrier_url) as http:
            for order_id in order_ids:
                await http.post("/trial/faults", json=fault | {"order_id": order_id})

    async def sell_again(self) -> None:
        async with carrier_client(self.carrier_url) as http:
            await http.delete("/trial/faults")

    def mails(self) -> Counter[str]:
        """Count the mails that arrived, by what they are about."""
        read = [email.message_from_bytes(path.read_bytes()) for path in (self.folder / "mail").glob("*.eml")]
        return Counter(str(each["X-Commerce-Key"]) for each in read)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """A carrier and a mail server of the test's own."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    async with carrier.running(folder / "carrier", 0) as carrier_url, mail.running(folder / "mail", 0) as smtp_url:
        outside = {"COMMERCE_CARRIER_URL": f"{carrier_url}/v2", "COMMERCE_SMTP_URL": smtp_url}
        yield World(folder, carrier_url, own | outside | {"COMMERCE_SCHEDULES": "off", "PYTHONPATH": str(ROOT)})


@dataclass
class Stack:
    """An embedded stack that is ready."""

    data_dir: Path
    data: Shop
    client: Client
    database_url: str
    environment: Mapping[str, str]  # of commands

    async def command(self, *arguments: str) -> None:
        """Run a command of `commerce`, which must end well."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", *arguments, "--data-dir", str(self.data_dir)),
            env=self.environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


@asynccontextmanager
async def up(outside: World, data_dir: Path) -> AsyncIterator[Stack]:
    """Run a stack as `commerce up` does; at the end of the block it is taken away as by a power cut."""
    log = data_dir.with_suffix(".log")
    with log.open("w") as stream:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter", "up", "--data-dir", str(data_dir), "--port", "0"),
            cwd=outside.folder,
            env=outside.environment,
            stdout=stream,
            stderr=stream,
        )
    try:
        stack_json = data_dir / "stack.json"
        await wait_until(lambda: stack_json.exists() or process.returncode is not None, SECONDS, log.read_text)
        environment = load_environment(data_dir)
        database_url = load_settings(environment).database_url.get_secret_value()
        database = Database(database_url)
        client = await connect(environment)
        yield Stack(data_dir, Shop(database), client, database_url, outside.environment)
        await kill(process)
        await database.close()
    finally:
        if process.returncode is None:
            await kill(process)
        orphans.terminate(data_dir)


async def kill(supervisor: asyncio.subprocess.Process) -> None:
    """Kill the supervisor, which would start the others again, and all that it has started."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(supervisor.pid)
        everything = [parent, *parent.children(recursive=True)]
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await supervisor.wait()
        await asyncio.to_thread(psutil.wait_procs, everything[1:], 10)
