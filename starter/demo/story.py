"""The demo: import a sample shop, process its orders on an embedded stack, and show the results."""

import asyncio
import shlex
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from rich.console import Console
from temporalio.client import Client

from commerce import imports
from commerce.database import Database
from commerce.messages.cancellations import cancel_process_id
from commerce.messages.orders import order_process_id
from commerce.messages.returns import return_process_id
from commerce.settings import load_settings
from starter.client import connect
from starter.demo import customers, jobs, orders, outcomes
from starter.demo.orders import Summary
from starter.demo.sample_orders import OPENING
from starter.demo.sample_shop import CURRENCY, SampleShop, write_sample_shop
from starter.demo.screen import Screen
from starter.devstack.errors import FAILED, StackError
from starter.devstack.signals import cancel_on_signals
from starter.devstack.stack import INTERRUPTED, Stack
from starter.operate.audit import audit

REVIEWS = {"COMMERCE_REVIEW_RISK": "high"}  # two of the sample orders have a high risk


async def demo(console: Console, data_dir: Path, *, port: int = 9000) -> int:
    """Run the demo on the embedded stack of this folder; on a terminal it then stays up until Ctrl-C.

    `port` is the API's (0: any). Returns the exit code: 0 if every order ended as expected and the audit is clean, 1 if
    not, 130 if interrupted; an interrupted demo continues when it is started again. Raises StackError, Unreachable,
    DatabaseUnavailable.
    """
    screen, code = Screen(console), INTERRUPTED
    screen.title("durable-commerce", "a sample shop, its orders processed for real")
    screen.head(f"Starting everything in {data_dir}")
    with cancel_on_signals() as interrupt:
        try:
            async with Stack(data_dir, port=port, defaults=REVIEWS, echo=screen.say) as stack:
                good = await _run(stack, screen)
                code = 0 if good else FAILED
                if console.is_terminal and sys.stdin.isatty():
                    screen.head("Press Ctrl-C to stop everything")
                    await asyncio.Event().wait()
                screen.head(
                    f"Stopping everything; start it again with `commerce up --data-dir {shlex.quote(str(data_dir))}`"
                )
        except asyncio.CancelledError:
            if not interrupt.happened:
                raise
            if code == INTERRUPTED:
                screen.complain("Interrupted. Run the demo again to continue")
    return code


async def _run(stack: Stack, screen: Screen) -> bool:
    async with _connections(stack) as (database, client):
        shop = await _import(database, stack.data_dir, screen)
        screen.head("Processing the orders")
        summary = await _process(database, client, shop, screen)
        screen.summary(summary)
        screen.head("Registering customers")
        screen.customers(await customers.register(database, client, shop.order_ids, screen.say))
        screen.head("Running the jobs, which otherwise run on a schedule")
        settings = load_settings(stack.environment)
        screen.jobs(await jobs.run(database, client, stack.data_dir, settings.warehouse_url, CURRENCY))
        findings = await audit(database, client)
        screen.verdict(findings)
        screen.links(_links(stack, client, shop))
    return summary.good and not findings


@asynccontextmanager
async def _connections(stack: Stack) -> AsyncIterator[tuple[Database, Client]]:
    settings = load_settings(stack.environment)
    database = Database.of(settings, pool_size=2)
    try:
        yield database, await connect(stack.environment)
    finally:
        await database.close()


async def _import(database: Database, data_dir: Path, screen: Screen) -> SampleShop:
    """Import the sample shop from files, like any other shop; importing it again changes nothing."""
    shop = await asyncio.to_thread(write_sample_shop, data_dir)
    orders = await imports.import_orders(database, [shop.orders], currency=CURRENCY)
    if orders.bad:  # another version's sample shop is there
        raise StackError(f"The data folder holds another sample shop; use another --data-dir ({orders.bad[0].reason})")
    stock = await imports.import_inventory(database, [shop.inventory], counted_at=OPENING)
    known = "" if stock.taken + orders.taken else ", already imported"
    screen.head("Importing the sample shop")
    screen.say(f"{stock.read:,} levels of stock, {len(shop.order_ids):,} orders with {orders.read:,} lines{known}")
    return shop


async def _process(database: Database, client: Client, shop: SampleShop, screen: Screen) -> Summary:
    async with database.transaction() as tx:
        before = await outcomes.count_outcomes(tx, shop.order_ids)
        pending = await outcomes.pending(tx, shop.order_ids)
    began = time.monotonic()
    with screen.progress(len(pending)) as on_ending:
        endings = await orders.process(client, database, pending, shop.reviews, on_ending)
    seconds = time.monotonic() - began
    await asyncio.gather(
        orders.take_back(client, database, shop.taken_back), orders.bring_back(client, database, shop.returned)
    )
    findings = await audit(database, client)
    async with database.transaction() as tx:
        after = await outcomes.count_outcomes(tx, shop.order_ids)
    unexpected = orders.unexpected_endings(endings, shop.expected)
    return Summary(before, after, endings, seconds, unexpected, findings)


def _links(stack: Stack, client: Client, shop: SampleShop) -> Mapping[str, str]:
    """Return addresses to look at, by name."""
    addresses = stack.description
    processes = f"{addresses['temporal_ui']}/namespaces/{client.namespace}/workflows"
    waiting = next(order_id for order_id, outcome in shop.reviews.items() if outcome == "waiting")
    return {
        "The console": addresses["console_url"],
        "Every process": processes,
        "The undone order": f"{processes}/{order_process_id(shop.cases['refused by carrier'])}",
        "The cancelled order": f"{processes}/{cancel_process_id(shop.taken_back)}",
        "The returned order": f"{processes}/{return_process_id(orders.return_of(shop.returned))}",
        "The order to review": f"{processes}/{order_process_id(waiting)}",
        "The mails": addresses["mail_dir"],
        "The API": f"{addresses['api_url']}/docs",
    }
