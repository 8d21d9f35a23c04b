"""A running shop for tests: database, Temporal, worker and embedded services, and short methods to use them."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.worker import Interceptor

from commerce.database import Database
from commerce.errors import PermanentError
from commerce.messages.base import Message
from commerce.messages.orders import OrderResult, order_process_id
from commerce.messages.progress import Progress
from commerce.settings import Settings, load_settings
from starter.client import process_order, start_order
from starter.devstack import mail
from starter.devstack.carrier import server as carrier
from starter.devstack.warehouse import server as warehouse
from starter.operate.audit import audit
from starter.processes import TASK_QUEUE
from starter.subscribers import create_relay
from tests.commerce.shop import Shop
from tests.polling import until
from worker import make_worker, open_activities
from workflows.order_processing import OrderProcessingWorkflow

Handle = WorkflowHandle[OrderProcessingWorkflow, OrderResult]


@dataclass
class RunningShop:
    """A shop whose services run. `data` creates products and orders and queries what became of them."""

    settings: Settings
    client: Client
    database: Database
    data: Shop
    mail_dir: Path
    carrier_url: str

    @asynccontextmanager
    async def worker(self, interceptors: Sequence[Interceptor] = ()) -> AsyncIterator[None]:
        """Run a worker in this process while the block runs."""
        async with (
            open_activities(self.settings) as activities,
            make_worker(self.client, activities, self.settings, interceptors),
        ):
            yield

    async def start(self, order_id: str) -> Handle:
        return await start_order(self.client, order_id)

    async def start_until_waiting(self, order_id: str, step: str) -> Handle:
        """Start an order, and return when this step waits for its answer."""
        handle = await self.start(order_id)

        async def is_waiting() -> bool | None:
            return (await self.states(order_id)).get(step) == "waiting" or None

        await until(is_waiting)
        return handle

    async def start_job(self, kind: str, options: Message) -> WorkflowHandle[Any, Any]:
        """Start a job under an id of its own, because all tests share a Temporal server."""
        return await self.client.start_workflow(kind, options, id=f"{kind}-{uuid4()}", task_queue=TASK_QUEUE)

    async def process(self, order_id: str) -> OrderResult:
        return await process_order(self.client, order_id)

    async def expect_failure(self, order_id: str) -> PermanentError:
        """Process an order and return its failure. Fails if the order is processed."""
        try:
            result = await self.process(order_id)
        except PermanentError as failure:
            return failure
        raise AssertionError(f"order {order_id} did not fail: {result}")

    def handle(self, order_id: str) -> Handle:
        return self.client.get_workflow_handle_for(OrderProcessingWorkflow.run, order_process_id(order_id))

    async def status(self, order_id: str) -> WorkflowExecutionStatus | None:
        return (await self.handle(order_id).describe()).status

    async def progress(self, order_id: str) -> Progress:
        return await self.handle(order_id).query(OrderProcessingWorkflow.progress)

    async def states(self, order_id: str) -> dict[str, str]:
        """Return the states of the steps by name."""
        return {step.name: step.state for step in (await self.progress(order_id)).steps}

    async def findings(self) -> list[Any]:
        """Return the findings of the audit."""
        return list(await audit(self.database, self.client))

    def mails(self, kind: str, order_id: str = "") -> list[EmailMessage]:
        """Return the received mails of a kind, of one order or of all."""
        mails = [email.message_from_bytes(path.read_bytes(), policy=email.policy.default) for path in self._files()]
        key = f"/{order_id}/" if order_id else "/"
        return [m for m in mails if m["X-Commerce-Kind"] == kind and key in f"{m['X-Commerce-Key']}/"]

    def _files(self) -> list[Path]:
        return sorted(self.mail_dir.glob("*.eml"))

    async def labels(self, order_id: str) -> dict[str, Any]:
        """Return the carrier's counts for an order: shipments, bought, refunded, live."""
        async with carrier_client(self.carrier_url) as http:
            counts: dict[str, Any] = (await http.get("/trial/labels", params={"order_id": order_id})).json()
        return counts

    async def inject_carrier_fault(self, **fault: object) -> None:
        """Make the carrier fail, see starter/devstack/carrier/faults.py."""
        async with carrier_client(self.carrier_url) as http:
            (await http.post("/trial/faults", json=fault)).raise_for_status()

    async def clear_carrier_faults(self) -> None:
        async with carrier_client(self.carrier_url) as http:
            (await http.delete("/trial/faults")).raise_for_status()


def carrier_client(url: str) -> httpx.AsyncClient:
    """Return a client of the embedded carrier. It loads no certificate authorities, which would take 20 ms."""
    return httpx.AsyncClient(base_url=url, auth=("test", ""), verify=False)


@asynccontextmanager
async def running_shop(folder: Path, database_url: str, client: Client, **more: str) -> AsyncIterator[RunningShop]:
    """Run the embedded services of a shop, with `more` settings, while the block runs. The test starts the worker."""
    database = Database(database_url)
    async with (
        mail.running(folder / "mail", 0) as smtp_url,
        carrier.running(folder / "carrier", 0) as carrier_url,
        warehouse.running(
            folder / "warehouse", 0, database_url, secret=more.get("COMMERCE_WAREHOUSE_SECRETS", "")
        ) as warehouse_url,
    ):
        settings = load_settings(
            {
                "COMMERCE_DATABASE_URL": database_url,
                "COMMERCE_SMTP_URL": smtp_url,
                "COMMERCE_CARRIER_URL": f"{carrier_url}/v2",
                "COMMERCE_WAREHOUSE_URL": warehouse_url,
                "COMMERCE_ADMIN_EMAILS": "admin@shop.example",
                **more,
            }
        )
        yield RunningShop(settings, client, database, Shop(database), folder / "mail", carrier_url)
    await database.close()


@asynccontextmanager
async def relaying(shop: RunningShop) -> AsyncIterator[None]:
    """Run a relay, which starts the processes of events, while the block runs."""
    url = shop.settings.direct_database_url or shop.settings.database_url
    relay = asyncio.create_task(create_relay(shop.client, url.get_secret_value()).run())
    try:
        yield
    finally:
        relay.cancel()
        with suppress(asyncio.CancelledError):
            await relay


async def wait_for_end(handle: Handle) -> None:
    """Wait until a run ends, whether it succeeds or fails."""
    await asyncio.gather(handle.result(), return_exceptions=True)


async def is_cancel_requested(handle: Handle) -> bool | None:
    """Return whether Temporal has recorded a cancel request, for `until`."""
    events = [event async for event in handle.fetch_history_events()]
    return any(event.HasField("workflow_execution_cancel_requested_event_attributes") for event in events) or None
