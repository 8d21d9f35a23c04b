"""The demo's jobs: carts that nobody wants any more, a warehouse that counted anew, a day's report, and upkeep."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text
from temporalio.client import Client

from commerce import imports
from commerce.database import Database
from commerce.errors import JobInProgress, Unreachable
from commerce.mail.render import money
from commerce.messages.analytics import Analytics
from commerce.messages.base import Message
from commerce.messages.carts import CleanUpCarts
from commerce.messages.pending_orders import PendingOrders
from commerce.messages.stock_sync import SyncInventory
from commerce.messages.upkeep import Upkeep
from starter.client import start
from starter.demo.sample_carts import write_sample_carts
from starter.demo.sample_orders import OPENING

COUNTED_ANEW = 5  # levels at which the warehouse has found more than the shop knows
FOUND = 3  # units
DAYS = [OPENING.date() + timedelta(days=number) for number in range(3)]  # whose orders are counted

# Nothing that an order waits for: what becomes of the orders must stay as it is.
PLENTY = text("""
    SELECT sku, location_id AS location, stocked_quantity + :found AS on_hand
    FROM inventory_levels JOIN inventory_items ON inventory_items.id = inventory_item_id
    WHERE sku NOT IN (SELECT sku FROM order_lines JOIN orders ON orders.id = order_id
                      WHERE fulfillment_status = 'not_fulfilled')
    ORDER BY sku, location_id LIMIT :count
""")


@dataclass(frozen=True)
class JobOutcome:
    """What a job did, in a sentence."""

    job: str
    said: str


async def run(
    database: Database, client: Client, data_dir: Path, warehouse_url: str, currency: str
) -> list[JobOutcome]:
    """Give the jobs something to do and run each once; one that its schedule runs just now is left to it.

    Raises Unreachable, DatabaseUnavailable, WorkflowFailureError.
    """
    await imports.import_carts(database, [write_sample_carts(data_dir, currency)], currency=currency)
    await _count_anew(database, warehouse_url)
    return [await _run(client, job, options) for job, options in RUNS]


async def _count_anew(database: Database, warehouse_url: str) -> None:
    """Let the embedded warehouse have a little more than the shop knows."""
    async with database.transaction() as tx:
        rows = (await tx.execute(PLENTY, {"found": FOUND, "count": COUNTED_ANEW})).mappings().all()
    try:
        async with httpx.AsyncClient(base_url=warehouse_url) as http:
            answer = await http.put("/trial/levels", json=[dict(row) for row in rows])
            answer.raise_for_status()
    except httpx.HTTPError as error:
        raise Unreachable(f"The warehouse does not let its levels be set ({type(error).__name__})") from error


async def _run(client: Client, job: str, options: Message) -> JobOutcome:
    try:
        result = await (await start(client, job, options)).result()
    except JobInProgress as running:
        return JobOutcome(job, str(running))
    return JobOutcome(job, TOLD[job](result))


def _day(result: Mapping[str, Any]) -> str:
    [figures] = result["currencies"]
    revenue, average = (money(figures[name], figures["currency"]) for name in ("revenue", "average_order_value"))
    people = f"{figures['new_customers']} new and {figures['returning_customers']} returning customers"
    return f"{result['day']}: {figures['orders']} orders, {revenue}, on average {average}; {people}; report mailed"


RUNS: Sequence[tuple[str, Message]] = (
    ("cleanup-expired-carts", CleanUpCarts()),
    ("sync-inventory", SyncInventory()),
    ("process-pending-orders", PendingOrders()),
    *(("collect-analytics-data", Analytics(date=day)) for day in DAYS),
    ("upkeep", Upkeep()),
)
TOLD: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "cleanup-expired-carts": lambda done: f"{done['changed']} abandoned carts deleted",
    "sync-inventory": lambda done: f"{done['seen']} SKUs compared, {done['changed']} levels corrected",
    "process-pending-orders": lambda done: f"{done['seen']} orders had been left over",
    "collect-analytics-data": _day,
    "upkeep": lambda done: f"{done['changed']} old records thrown away",
}
