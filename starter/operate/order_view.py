"""One order in full: what the shop's database has, and the runs of its processes."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from temporalio.client import Client

from commerce.database import Database
from commerce.errors import ProcessNotFound, Unreachable
from commerce.messages.cancellations import processes_of
from commerce.messages.order_views import OrderView
from commerce.messages.orders import order_process_id
from commerce.messages.runs import ProcessStatus, Run
from commerce.queries import orders
from starter.operate.process_list import OUR_RUNS, fetch_page
from starter.operate.process_status import get_status, to_run

MAX_RUNS = 20
MAX_RETURNS = 10


async def view_order(
    database: Database, connect: Callable[[], Awaitable[Client]], reference: str, *, default_source: str
) -> OrderView:
    """Return the order with this id, or with this id or name at its source.

    `connect` returns the connection to Temporal. Without Temporal, the order has no runs. Raises OrderNotFound,
    DatabaseUnavailable.
    """
    async with database.transaction() as tx:
        order_id = await orders.find_order(tx, reference, default_source=default_source)
        facts = await orders.load_order(tx, order_id)
    runs, missing = None, None
    try:
        processes = [*processes_of(order_id), *(each.transaction_id for each in facts.returns)]
        runs = await _list_runs(await connect(), processes)
    except Unreachable as error:
        missing = str(error)
    return OrderView(**dict(facts), transaction_id=order_process_id(order_id), runs=runs, runs_missing=missing)


async def view_order_and_processes(
    database: Database,
    connect: Callable[[], Awaitable[Client]],
    reference: str,
    *,
    default_source: str,
    ui: str | None = None,
) -> tuple[OrderView, list[ProcessStatus]]:
    """Return an order as `view_order` does, and the status of the latest run of each of its processes.

    Of its returns there are the last 10. `ui` is the address of Temporal's UI, for links. Raises OrderNotFound,
    DatabaseUnavailable.
    """
    order = await view_order(database, connect, reference, default_source=default_source)

    async def status(process_id: str) -> ProcessStatus | None:
        try:
            return await get_status(await connect(), process_id, ui=ui)
        except (ProcessNotFound, Unreachable):
            return None

    returns = [each.transaction_id for each in order.returns[-MAX_RETURNS:]]
    found = await asyncio.gather(*map(status, [*processes_of(order.order_id), *returns]))
    return order, [each for each in found if each]


async def _list_runs(client: Client, process_ids: Sequence[str]) -> list[Run]:
    """Return the runs of processes, latest first. A new one may appear only after a second."""
    ids = ", ".join(f"'{process_id}'" for process_id in process_ids)
    executions, _ = await fetch_page(client, f"{OUR_RUNS} AND WorkflowId IN ({ids})", MAX_RUNS, None)
    return [to_run(run) for run in executions]
