"""Carry out a plan: operators, customers, importers, and what kills workers and cuts connections."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from uuid import uuid4

import httpx
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from commerce.errors import ActionRefused, ProcessNotFound, Unreachable
from commerce.imports import import_inventory, import_orders
from commerce.messages.orders import order_process_id
from commerce.order_intake import store_order
from starter.devstack.mail import REFUSE_FILE
from starter.operate import actions
from starter.processes import PROCESS_TYPES, TASK_QUEUE
from tests.running_shop import RunningShop
from tests.system.chaos.crew import Crew, crew_of
from tests.system.chaos.incoming import CURRENCY, new_order, write_inventory, write_orders
from tests.system.chaos.plan import WORKERS, Action, Plan
from tests.system.chaos.wire import Wire, wire_to
from tests.system.workers import worker_environment

REASON = "chaos"
MAX_WAIT = 6  # seconds
HAS_BEGUN = "SELECT 1 FROM step_ledger WHERE business_key = :key AND step = :step LIMIT 1"
WITHDRAW = """
    UPDATE orders SET cancelled_at = clock_timestamp()
    WHERE id = :id AND cancelled_at IS NULL AND fulfillment_status <> 'fulfilled'
"""
REFUSED = (ActionRefused, ProcessNotFound)  # an operator gets these at a wrong moment
REFUSALS = {RPCStatusCode.NOT_FOUND, RPCStatusCode.INVALID_ARGUMENT}
NO_ANSWER = {RPCStatusCode.CANCELLED, RPCStatusCode.DEADLINE_EXCEEDED, RPCStatusCode.UNAVAILABLE}


class Actors:
    """Each public method is an action of a plan. What happened is in `log`; `done` holds the actions not refused.

    Temporal may be too busy to answer an operator. What it did not answer, it may have done.
    """

    def __init__(self, shop: RunningShop, plan: Plan, folder: Path, crew: Crew, wires: Mapping[str, Wire]) -> None:
        self.shop = shop
        self.log: list[str] = []
        self.done: list[Action] = []
        self.job_ids: list[str] = []
        self._plan = plan
        self._folder = folder
        self._crew = crew
        self._wires = wires
        self._numbers = itertools.count(1)

    async def carry_out(self) -> None:
        """Start the workers, carry out all actions at their times, and return when all of them have ended."""
        await self._crew.start()
        started_at = time.monotonic()
        async with asyncio.TaskGroup() as acting:
            for action in self._plan.actions:
                acting.create_task(self._act(action, started_at))

    async def _act(self, action: Action, started_at: float) -> None:
        await asyncio.sleep(action.at - (time.monotonic() - started_at))
        if action.after:
            await self._wait_for_step(action.more["order_id"], action.after)
        began = time.monotonic() - started_at
        try:
            result = await getattr(self, action.name)(**action.more)
            self.done.append(action)
        except REFUSED as error:
            result = error
        except RPCError as error:
            if error.status not in REFUSALS | NO_ANSWER:
                raise
            result = error.message
            if error.status in NO_ANSWER:
                self.done.append(action)
        except Unreachable as error:
            result = error
            self.done.append(action)
        ended = time.monotonic() - started_at
        self.log.append(f"{began:7.2f} to {ended:6.2f}  {str(action)[9:]}" + (f": {result}" if result else ""))

    async def _wait_for_step(self, order_id: str, step: str) -> None:
        """Wait until a step of the order has begun, but not for long: it may never begin."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAX_WAIT):
                while not await self.shop.data.sql(HAS_BEGUN, key=order_process_id(order_id), step=step):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    # Orders

    async def place(self, order_id: str) -> None:
        """Another system sends the order."""
        await self.shop.data.call(store_order, new_order(self._plan.orders[order_id]))

    async def import_orders(self, order_ids: Sequence[str]) -> str:
        """Import a file of orders, some of which may be in the shop already."""
        file = self._folder / f"orders-{next(self._numbers)}.csv"
        write_orders(file, [self._plan.orders[order_id] for order_id in order_ids])
        report = await import_orders(self.shop.database, [file], currency=CURRENCY)
        assert not report.bad, report
        return f"{report.taken} new"

    async def withdraw(self, order_id: str) -> None:
        """The customer cancels the order in the shop."""
        await self.shop.data.sql(WITHDRAW, id=order_id)

    async def start(self, order_id: str) -> None:
        await self.shop.start(order_id)

    async def retry(self, order_id: str) -> None:
        await actions.retry(self.shop.client, self.shop.database, order_process_id(order_id), reason=REASON)

    async def cancel(self, order_id: str) -> None:
        await actions.cancel(self.shop.client, self.shop.database, order_process_id(order_id), reason=REASON)

    async def terminate(self, order_id: str) -> None:
        await self.shop.handle(order_id).terminate(REASON)

    async def interrupt_twice(self, order_id: str) -> None:
        """Terminate the run, start the order again, and cancel the new run at once."""
        await self.terminate(order_id)
        await self.start(order_id)
        await self.cancel(order_id)

    async def reset(self, order_id: str) -> str:
        """Reset the latest run to its first task."""
        return await self._reset(order_id, 0)

    async def reset_late(self, order_id: str) -> str:
        """Reset the latest run to its last task."""
        return await self._reset(order_id, -1)

    async def _reset(self, order_id: str, task: int) -> str:
        handle = self.shop.handle(order_id)
        run_id = (await handle.describe()).run_id
        tasks = [
            event.event_id
            async for event in self.shop.client.get_workflow_handle(handle.id, run_id=run_id).fetch_history_events()
            if event.HasField("workflow_task_completed_event_attributes")
        ]
        if not tasks:
            return "no task yet"
        request = ResetWorkflowExecutionRequest(
            namespace=self.shop.client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=handle.id, run_id=run_id),
            workflow_task_finish_event_id=tasks[task],
            request_id=str(uuid4()),
        )
        await self.shop.client.workflow_service.reset_workflow_execution(request)
        return f"to event {tasks[task]}"

    # Workers and servers

    async def kill_worker(self, number: int, pause: float) -> str | None:
        return None if await self._crew.kill(number, pause) else "it is being replaced"

    async def restart_worker(self, number: int) -> str | None:
        return None if await self._crew.restart(number) else "it is being replaced"

    async def freeze_worker(self, number: int, seconds: float) -> str | None:
        return None if await self._crew.freeze(number, seconds) else "it is being replaced"

    async def cut(self, server: str, seconds: float) -> None:
        await self._wires[server].cut(seconds)

    async def carrier_fault(self, **fault: object) -> None:
        await self.shop.inject_carrier_fault(**fault)

    async def refuse_mails(self, seconds: float) -> None:
        """Let the mail server refuse each recipient temporarily."""
        file = self.shop.mail_dir / REFUSE_FILE
        file.write_text("451 4.3.0 Try again later")
        await asyncio.sleep(seconds)
        file.unlink(missing_ok=True)

    # Goods and jobs

    async def import_stock(self, sku: str, location: str, on_hand: int | None = None, **flags: str) -> None:
        """Import a file of inventory with one row."""
        file = self._folder / f"inventory-{next(self._numbers)}.csv"
        write_inventory(file, sku, location, on_hand, **flags)
        report = await import_inventory(self.shop.database, [file])
        assert not report.bad, report

    async def count_stock(self, sku: str, location: str, on_hand: int) -> None:
        """The warehouse counts an item; the next stock sync takes the count over."""
        count = {"sku": sku, "location": location, "on_hand": on_hand}
        async with httpx.AsyncClient(base_url=self.shop.settings.warehouse_url, verify=False) as http:
            (await http.put("/trial/levels", json=[count])).raise_for_status()

    async def start_job(self, kind: str) -> None:
        """Start a job under an id of its own, as its schedule does."""
        await self.run_job(kind)

    async def run_job(self, kind: str) -> WorkflowHandle[object, object]:
        """Start a job and return its handle."""
        job_id = f"{kind}-chaos-{next(self._numbers)}"
        self.job_ids.append(job_id)
        entry = PROCESS_TYPES[kind].entry
        return await self.shop.client.start_workflow(kind, entry(), id=job_id, task_queue=TASK_QUEUE)


@asynccontextmanager
async def actors(shop: RunningShop, plan: Plan, folder: Path) -> AsyncIterator[Actors]:
    """Yield the actors, with workers whose connections to the servers can be cut."""
    settings = shop.settings
    urls = {
        "database": settings.database_url.get_secret_value(),
        "carrier": settings.carrier_url,
        "mail": settings.smtp_url.get_secret_value(),
    }
    async with AsyncExitStack() as stack:
        wires = {name: await stack.enter_async_context(wire_to(url)) for name, url in urls.items()}
        environment = worker_environment(shop) | {
            "COMMERCE_DATABASE_URL": wires["database"][1],
            "COMMERCE_CARRIER_URL": wires["carrier"][1],
            "COMMERCE_SMTP_URL": wires["mail"][1],
        }
        crew = await stack.enter_async_context(crew_of(WORKERS, environment, folder / "workers"))
        yield Actors(shop, plan, folder, crew, {name: wire for name, (wire, _) in wires.items()})
