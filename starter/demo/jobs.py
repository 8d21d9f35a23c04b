"""The demo's jobs: abandoned carts, a warehouse that has recounted, daily reports, pending orders and upkeep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from temporalio.client import Client, WorkflowFailureError

from activities.boundary.failures import cause
from commerce import imports
from commerce.database import Database
from commerce.errors import JobInProgress, Unreachable
from commerce.formats import Formats
from commerce.integrations import capped_http
from commerce.messages.analytics import Analytics
from commerce.messages.base import Message
from commerce.messages.carts import CleanUpCarts
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.upkeep import Upkeep
from commerce.open_orders import IS_OPEN
from starter.client import start
from starter.demo.sample_carts import write_sample_carts
from starter.demo.sample_orders import OPENING

RECOUNTED_LEVELS = 5  # at which the warehouse has more units than the shop knows
EXTRA_UNITS = 3
FORMATS = Formats("en_GB")  # the sample shop is British
DAYS = [OPENING.date() + timedelta(days=number) for number in range(3)]  # the days to report

# Only SKUs that no pending order waits for, so that the outcome of the orders stays the same.
PLENTY = text(f"""
    SELECT sku, location_id AS location, stocked_quantity + :found AS on_hand
    FROM inventory_levels JOIN inventory_items ON inventory_items.id = inventory_item_id
    WHERE sku NOT IN (SELECT sku FROM order_lines JOIN orders ON orders.id = order_id
                      WHERE {IS_OPEN})
    ORDER BY sku, location_id LIMIT :count
""")  # noqa: S608 - our own constant


@dataclass(frozen=True)
class JobOutcome:
    """What a job did, as a sentence."""

    job: str
    summary: str


async def run(
    database: Database, client: Client, data_dir: Path, warehouse_url: str, currency: str
) -> list[JobOutcome]:
    """Give the jobs something to do and run each once. A job that its schedule is running is left alone.

    Raises Unreachable, DatabaseUnavailable, WorkflowFailureError.
    """
    await imports.import_carts(database, [write_sample_carts(data_dir, currency)], currency=currency)
    await _recount(database, warehouse_url)
    return [await _run(client, job, options) for job, options in RUNS]


async def _recount(database: Database, warehouse_url: str) -> None:
    """Let the embedded warehouse have a few more units than the shop knows."""
    async with database.transaction() as tx:
        rows = (await tx.execute(PLENTY, {"found": EXTRA_UNITS, "count": RECOUNTED_LEVELS})).mappings().all()
    try:
        async with httpx.AsyncClient(base_url=warehouse_url) as http:
            answer = await capped_http.send(http, "PUT", "/trial/levels", json=[dict(row) for row in rows])
    except httpx.HTTPError as error:
        raise Unreachable(f"The embedded warehouse refuses to set its levels ({type(error).__name__})") from error
    if not answer.is_success:
        raise Unreachable(f"The embedded warehouse refuses to set its levels (HTTP {answer.status})")


async def _run(client: Client, job: str, options: Message) -> JobOutcome:
    try:
        result = await (await start(client, job, options)).result()
    except JobInProgress as running:
        return JobOutcome(job, str(running))
    except WorkflowFailureError as failure:  # perhaps its schedule has started it at the same moment
        if running_too := cause(failure, JobInProgress):
            return JobOutcome(job, str(running_too))
        raise
    return JobOutcome(job, SUMMARIES[job](result))


def _day(result: Mapping[str, Any]) -> str:
    [figures] = result["currencies"]
    orders = FORMATS.count(figures["orders"], "order")
    amounts = (FORMATS.money(figures[name], figures["currency"]) for name in ("revenue", "average_order_value"))
    people = f"{figures['new_customers']} new and {figures['returning_customers']} returning customers"
    return "{}: {}, {}, on average {}; {}; report mailed".format(result["day"], orders, *amounts, people)


RUNS: Sequence[tuple[str, Message]] = (
    ("cleanup-expired-carts", CleanUpCarts()),
    ("sync-inventory", SyncInventory()),
    ("process-pending-orders", PendingOrders()),
    *(("collect-analytics-data", Analytics(date=day)) for day in DAYS),
    ("upkeep", Upkeep()),
)
SUMMARIES: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "cleanup-expired-carts": lambda done: f"{FORMATS.count(done['changed'], 'abandoned cart')} deleted",
    "sync-inventory": lambda done: (
        f"{FORMATS.count(done['seen'], 'SKU')} compared, {FORMATS.count(done['changed'], 'level')} corrected"
    ),
    "process-pending-orders": lambda done: f"{FORMATS.count(done['seen'], 'pending order')} found",
    "collect-analytics-data": _day,
    "upkeep": lambda done: f"{FORMATS.count(done['changed'], 'old record')} deleted",
}
