"""The commands `commerce orders …`: find, show and correct orders."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from commerce.messages.order_views import OrderPage, OrderStatus, OrderSummary, OrderView
from commerce.settings import Settings, load_environment
from starter.cli.order_view import money_text, print_order
from starter.cli.shared import (
    TIMES,
    AsJson,
    Connections,
    DataDir,
    in_zone,
    out,
    print_line,
    print_result,
    query_shop,
    run_connected,
    run_with_database,
)
from starter.cli.tables import Column, print_table, time_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from commerce.database import Database

    class Decision(Protocol):
        """A function that changes an order."""

        def __call__(self, tx: AsyncSession, order_id: str, *, reason: str, actor: str) -> Awaitable[None]:
            """Change the order, and record why."""


T = TypeVar("T")
LISTED = (
    Column("id"),
    Column("number", 3),
    Column("status", styled=True),
    Column("hold", 2, flexible=True),
    Column("customer", 4, flexible=True),
    Column("country", 6),
    Column("units", 7, right=True),
    Column("total", 1, right=True),
    Column("payment", 5),
    Column("placed", 1),
)
orders_app = typer.Typer(help="Orders: find, show and correct them.", no_args_is_help=True)

Reason = Annotated[str, typer.Option(help="Why; stored in the shop's own database only")]
Text = Annotated[str | None, typer.Option()]
OrderReference = Annotated[str, typer.Argument(metavar="ORDER", help="Id of the order, or its number")]


@orders_app.command("list", epilog="Example: commerce orders list --status on_hold --hold-reason CarrierRefused")
def list_orders(
    status: Annotated[OrderStatus | None, typer.Option(help="Only orders with this status")] = None,
    hold_reason: Annotated[
        str | None, typer.Option(help="Only orders on hold for this, such as CarrierRefused or rejected")
    ] = None,
    search: Annotated[
        str | None,
        typer.Option(help="Words of the ids, the number, names and the e-mail address; or a tracking number"),
    ] = None,
    since: Annotated[datetime | None, typer.Option(formats=TIMES, help="Placed at this time or later")] = None,
    until: Annotated[datetime | None, typer.Option(formats=TIMES, help="Placed before this time")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of orders, 1 to 200")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after the order with this id")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List orders, last placed first. Names of customers are masked.

    Times without an offset are in the shop's time zone. Several filters select the orders that meet all of them.
    """
    from commerce.queries import orders

    async def load(tx: "AsyncSession", settings: Settings) -> OrderPage:
        selected = orders.OrderFilter(
            status=status,
            hold_reason=hold_reason,
            search=search,
            since=in_zone(since, settings.zone),
            until=in_zone(until, settings.zone),
        )
        return await orders.list_orders(tx, selected, limit=limit, cursor=cursor)

    page, settings = query_shop(data_dir, load)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.orders:
        print_table(LISTED, [_row(order, settings) for order in page.orders])
    else:
        print_line("No orders found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@orders_app.command()
def show(order: OrderReference, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show an order in full: customer, lines, stock, parcels, and what has happened to it."""
    from starter.client import connect
    from starter.operate.order_view import view_order

    environment = load_environment(data_dir)

    async def load(database: "Database", settings: Settings) -> tuple[OrderView, Settings]:
        return await view_order(
            database, lambda: connect(environment), order, default_source=settings.order_source
        ), settings

    view, settings = run_with_database(data_dir, load)
    if as_json:
        out.print_json(view.model_dump_json())
    else:
        print_order(view, settings)


@orders_app.command(epilog="Example: commerce orders edit 1001 --zip 'N1 9GV' --reason 'The customer called'")
def edit(
    order: OrderReference,
    reason: Reason,
    name: Text = None,
    company: Text = None,
    address1: Text = None,
    address2: Text = None,
    city: Text = None,
    zip_code: Annotated[str | None, typer.Option("--zip")] = None,
    province: Text = None,
    country: Annotated[str | None, typer.Option(help="ISO 3166 code or name")] = None,
    phone: Text = None,
    method: Annotated[str | None, typer.Option(help="Shipping method")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Correct the shipping address or method of an order that is not fulfilled.

    What is not given stays; an empty value deletes a field. An order that has failed is processed again, and a run
    under way begins anew. A correction stays until the shop that the order is from states another value.
    """
    from commerce import order_corrections

    given = {
        "name": name,
        "company": company,
        "address1": address1,
        "address2": address2,
        "city": city,
        "zip": zip_code,
        "province": province,
        "country": country,
        "phone": phone,
        "method": method,
    }
    address = {field: value for field, value in given.items() if value is not None}

    async def correct(tx: "AsyncSession", order_id: str) -> tuple[str, list[str]]:
        return order_id, await order_corrections.correct_address(tx, order_id, address, reason=reason, actor="")

    order_id, changed = _with_order(data_dir, order, correct)
    line = f"{order_id} has a new {', '.join(changed)}" if changed else f"{order_id} was like this before"
    print_result({"order_id": order_id, "changed": changed}, line.replace("shipping_", ""), as_json=as_json)


@orders_app.command()
def hold(order: OrderReference, reason: Reason, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Put an order on hold: it is processed only when somebody releases it. A run under way undoes its steps."""
    from commerce import order_corrections

    _decide(data_dir, order, order_corrections.hold, reason, "is on hold", as_json=as_json)


@orders_app.command()
def release(order: OrderReference, reason: Reason, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """End the hold of an order, and process it. This approves what it was on hold for."""
    from commerce import order_corrections

    _decide(data_dir, order, order_corrections.release, reason, "is released and will be processed", as_json=as_json)


@orders_app.command()
def cancel(
    order: OrderReference,
    reason: Reason,
    force: Annotated[
        bool, typer.Option(help="Also if the carrier has the parcel, or will not refund the label")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Cancel an order, also a fulfilled one whose parcel the carrier does not have yet.

    The process `cancel-order` undoes what was done for the order, refunds its payment and mails the customer.
    """
    from commerce.queries.orders import find_order
    from starter.operate import actions

    async def start(connections: Connections) -> tuple[str, str]:
        client, database, settings = connections
        async with database.transaction() as tx:
            order_id = await find_order(tx, order, default_source=settings.order_source)
        return order_id, await actions.cancel_order(client, database, order_id, reason=reason, force=force)

    order_id, process_id = run_connected(data_dir, start)
    line = f"{order_id} is being cancelled. To see how: commerce runs show {process_id}"
    print_result({"order_id": order_id, "transaction_id": process_id}, line, as_json=as_json)


def _decide(
    data_dir: Path | None, reference: str, decide: "Decision", reason: str, outcome: str, *, as_json: bool
) -> None:
    async def act(tx: "AsyncSession", order_id: str) -> str:
        await decide(tx, order_id, reason=reason, actor="")
        return order_id

    order_id = _with_order(data_dir, reference, act)
    print_result({"order_id": order_id}, f"{order_id} {outcome}", as_json=as_json)


def _with_order(data_dir: Path | None, reference: str, action: Callable[["AsyncSession", str], Awaitable[T]]) -> T:
    """Find the order and run the action in one transaction."""
    from commerce.queries.orders import find_order

    async def run(database: "Database", settings: Settings) -> T:
        async with database.transaction() as tx:
            return await action(tx, await find_order(tx, reference, default_source=settings.order_source))

    return run_with_database(data_dir, run)


def _row(order: OrderSummary, settings: Settings) -> tuple[str, ...]:
    return (
        order.order_id,
        order.number if order.number.removeprefix("#") != order.order_id else "",
        order.status.replace("_", " "),
        (order.hold_reason or "").removeprefix("failed: "),
        order.customer or "",
        order.country or "",
        f"{order.units:,}",
        money_text(order.total, order.currency, settings),
        order.payment_status.replace("_", " "),
        time_text(order.created_at, settings.zone),
    )
