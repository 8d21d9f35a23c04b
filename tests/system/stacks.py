"""Run embedded stacks as separate processes, so that tests can back them up, kill them and restore them.

The carrier and the mail server run outside of the stacks and outlive them.
"""

import asyncio
import email
import os
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
from tests.forks import Program, completed
from tests.paths import ROOT
from tests.running_shop import carrier_client
from tests.system.workers import wait_until

TIMEOUT = 120  # seconds


@dataclass
class ExternalServices:
    """The carrier and the mail server. They keep their data when the shop is restored from a backup."""

    folder: Path
    carrier_url: str
    environment: Mapping[str, str]

    async def labels(self) -> Counter[str]:
        """Count the labels that were bought and not refunded, by order id."""
        async with carrier_client(self.carrier_url) as http:
            labels = (await http.get("/trial/labels")).json()["labels"]
        return Counter(label["order_id"] for label in labels if label["refund_status"] is None)

    async def fail_label_purchases(self, order_ids: Iterable[str]) -> None:
        """Make every purchase of a label for these orders fail with status 500."""
        fault = {"operation": "buy", "fault": "500", "times": 1000}
        async with carrier_client(self.carrier_url) as http:
            for order_id in order_ids:
                await http.post("/trial/faults", json=fault | {"order_id": order_id})

    async def clear_faults(self) -> None:
        async with carrier_client(self.carrier_url) as http:
            await http.delete("/trial/faults")

    def mails(self) -> Counter[str]:
        """Count the mails that arrived, by X-Commerce-Key."""
        mails = [email.message_from_bytes(path.read_bytes()) for path in (self.folder / "mail").glob("*.eml")]
        return Counter(str(mail["X-Commerce-Key"]) for mail in mails)


@asynccontextmanager
async def external_services(folder: Path) -> AsyncIterator[ExternalServices]:
    """Run a carrier and a mail server for one test."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("COMMERCE_", "TEMPORAL_"))}
    async with carrier.running(folder / "carrier", 0) as carrier_url, mail.running(folder / "mail", 0) as smtp_url:
        urls = {"COMMERCE_CARRIER_URL": f"{carrier_url}/v2", "COMMERCE_SMTP_URL": smtp_url}
        environment = inherited | urls | {"COMMERCE_SCHEDULES": "off", "PYTHONPATH": str(ROOT)}
        yield ExternalServices(folder, carrier_url, environment)


@dataclass
class Stack:
    """A running embedded stack."""

    data_dir: Path
    data: Shop
    client: Client
    environment: Mapping[str, str]  # for commands

    async def run_command(self, *arguments: str) -> None:
        """Run a `commerce` command and check that it succeeds."""
        command = (*arguments, "--data-dir", str(self.data_dir))
        done = await asyncio.to_thread(completed, "starter", command, self.environment, self.data_dir.parent)
        assert done.returncode == 0, done.stdout + done.stderr


@asynccontextmanager
async def running_stack(external: ExternalServices, data_dir: Path) -> AsyncIterator[Stack]:
    """Run a stack with `commerce up`; kill all its processes at the end of the block."""
    log = data_dir.with_suffix(".log")
    up = ("up", "--data-dir", str(data_dir), "--port", "0")
    process = Program("starter", external.environment, external.folder, log, up)
    try:
        stack_json = data_dir / "stack.json"
        await wait_until(lambda: stack_json.exists() or process.poll() is not None, TIMEOUT, log.read_text)
        assert process.poll() is None, log.read_text()
        environment = load_environment(data_dir)
        database = Database(load_settings(environment).database_url.get_secret_value())
        client = await connect(environment)
        yield Stack(data_dir, Shop(database), client, external.environment)
        await kill_stack(process)
        await database.close()
    finally:
        if process.poll() is None:
            await kill_stack(process)
        orphans.terminate(data_dir)


async def kill_stack(supervisor: Program) -> None:
    """Kill the supervisor and all its child processes. The supervisor goes first: it would restart the others."""
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(supervisor.pid)
        processes = [parent, *parent.children(recursive=True)]
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        await asyncio.to_thread(supervisor.wait)
        await asyncio.to_thread(psutil.wait_procs, processes[1:], 10)
