"""The commands `commerce returns …`: start and list returns, and note what came back."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from pydantic import ValidationError

from commerce.errors import BadInput
from commerce.messages.base import count_of, field_errors
from commerce.messages.return_views import ReturnView
from commerce.messages.returns import Item, ReceivedItem, ReturnReceipt, ReturnState, line_named
from commerce.settings import Settings
from starter.cli.order_view import money_text
from starter.cli.shared import (
    FAILED,
    AsJson,
    Connections,
    DataDir,
    out,
    print_error,
    print_line,
    print_result,
    query_shop,
    run_connected,
)
from starter.cli.tables import Column, print_fact, print_table, time_text

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

ItemT = TypeVar("ItemT", bound=Item)
LISTED = (
    Column("return"),
    Column("order"),
    Column("state", styled=True),
    Column("units", 1, right=True),
    Column("back", 2, right=True),
    Column("tracking number", 3, flexible=True),
    Column("refunded", 4, right=True),
    Column("started", 1),
)
LINES = (
    Column("units", right=True),
    Column("back", right=True),
    Column("sellable", 1, right=True),
    Column("SKU", 1, flexible=True),
    Column("title", flexible=True),
)
returns_app = typer.Typer(help="Returns: start them, and note what came back.", no_args_is_help=True)
Return = Annotated[str, typer.Argument(metavar="RETURN", help="Id of the return, or the tracking number of its label")]


@returns_app.command(epilog="Example: commerce returns start 1001 --item MUG=2 --reason 'Too small'")
def start(
    order: Annotated[str, typer.Argument(metavar="ORDER", help="Id of the order, or its number")],
    reason: Annotated[str, typer.Option(help="Why; stored in the shop's own database only")],
    item: Annotated[
        list[str] | None,
        typer.Option(help="SKU=UNITS to come back, or #LINE=UNITS; repeatable. Default: all that is not back"),
    ] = None,
    label: Annotated[bool, typer.Option(help="Buy a label for goods that were sent with one")] = True,
    refund: Annotated[bool, typer.Option(help="Refund the goods here, when they are back")] = True,
    refund_shipping: Annotated[
        bool, typer.Option("--refund-shipping", help="Refund the shipping costs, too, once per order")
    ] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Start a return of a fulfilled order: the customer is mailed a label, and the goods are waited for."""
    from commerce.queries.orders import find_order
    from starter.operate import returns

    items = [_item(text, Item) for text in item or []]

    async def run(connections: Connections) -> tuple[str, str, str]:
        client, database, settings = connections
        async with database.transaction() as tx:
            order_id = await find_order(tx, order, default_source=settings.order_source)
        started = await returns.start_return(
            client,
            database,
            order_id,
            items,
            reason=reason,
            label=label,
            refund=refund,
            refund_shipping=refund_shipping,
        )
        return order_id, started.return_id, started.process_id

    order_id, return_id, process_id = run_connected(data_dir, run)
    line = f"Return {return_id} of order {order_id} is started. To see how: commerce runs show {process_id}"
    data = {"order_id": order_id, "return_id": return_id, "transaction_id": process_id}
    print_result(data, line, as_json=as_json)


@returns_app.command("list")
def list_returns(
    state: Annotated[ReturnState | None, typer.Option(help="Only returns in this state")] = None,
    order: Annotated[str | None, typer.Option(help="Only returns of this order: its id or number")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of returns, 1 to 200")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after the return with this id")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List returns, latest first."""
    from commerce.messages.return_views import ReturnPage
    from commerce.queries import returns
    from commerce.queries.orders import find_order

    async def load(tx: "AsyncSession", settings: Settings) -> ReturnPage:
        order_id = order and await find_order(tx, order, default_source=settings.order_source)
        return await returns.list_returns(tx, state=state, order_id=order_id, limit=limit, cursor=cursor)

    page, settings = query_shop(data_dir, load)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.returns:
        print_table(LISTED, [_row(each, settings) for each in page.returns])
    else:
        print_line("No returns found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@returns_app.command()
def show(reference: Return, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show a return: what is to come back, and what has."""
    from commerce.queries.returns import find_return

    found, settings = query_shop(data_dir, lambda tx, _settings: find_return(tx, reference))
    if as_json:
        out.print_json(found.model_dump_json())
        return
    print_fact(found.return_id, found.state)
    print_fact("order", found.order_id)
    print_fact("process", found.transaction_id)
    print_fact("goes to", found.location)
    print_fact("tracking number", found.tracking_number)
    print_fact("label", found.label_url)
    print_fact("started", time_text(found.created_at, settings.zone))
    print_fact("received", time_text(found.received_at, settings.zone))
    for name in ("refunded", "refund_due", "refunded_elsewhere"):
        if amount := getattr(found, name):
            print_fact(name.replace("_", " "), money_text(amount, found.currency, settings))
    print_table(
        LINES, [_line(each.quantity, each.received, each.sellable, each.sku, each.title) for each in found.lines]
    )


@returns_app.command(epilog="Example: commerce returns receive f3a1c09b77d2e415 --item MUG=2:1")
def receive(
    reference: Return,
    item: Annotated[
        list[str] | None,
        typer.Option(help="SKU=UNITS that came back, or SKU=UNITS:SELLABLE if not all are; repeatable"),
    ] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All of it came back, and is sellable")] = False,
    reason: Annotated[str, typer.Option(help="A remark; stored in the shop's own database only")] = "",
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Note what came back of a return. The sellable units go back on the shelf, and all of it is refunded.

    What is not named did not come back, and is not waited for any more.
    """
    from starter.operate import returns

    receipt = _receipt([_item(text, ReceivedItem) for text in item or []], everything=everything)

    async def run(connections: Connections) -> str:
        client, database, _ = connections
        noted = await returns.receive_return(client, database, reference, receipt, by="cli", reason=reason)
        return noted.transaction_id

    process_id = run_connected(data_dir, run)
    line = f"It is noted what came back of {reference}. To see how: commerce runs show {process_id}"
    print_result({"return": reference, "transaction_id": process_id}, line, as_json=as_json)


@returns_app.command("receive-file", epilog="Example: commerce returns receive-file monday.csv")
def receive_file(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="CSV with the columns Return, SKU, Quantity, Sellable"),
    ],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Note what came back of many returns, from a CSV file with one row per return and SKU.

    Return is the id of the return, or the tracking number of its label. Sellable may be left out: then all units are.
    The same file again changes nothing. A return with a wrong row is left out.
    """
    from commerce.imports.receipts import read_receipts
    from starter.operate import returns

    receipts = read_receipts(file)

    async def run(connections: Connections) -> dict[str, str | None]:
        client, database, _ = connections
        outcomes = await returns.receive_all(client, database, receipts.by_return, by="file")
        return {reference: None if error is None else str(error) for reference, error in outcomes.items()}

    outcomes = run_connected(data_dir, run)
    wrong = [*receipts.problems, *(f"return {name}: {error}" for name, error in outcomes.items() if error)]
    noted = [name for name, error in outcomes.items() if error is None]
    if as_json:
        out.print_json(data={"received": noted, "problems": wrong})
    else:
        print_line(f"{count_of(len(noted), 'return')} received")
        for problem in wrong:
            print_error(problem)
    return FAILED if wrong else 0


def _item(text: str, kind: type[ItemT]) -> ItemT:
    """Return an item like MUG=2, or MUG=2:1 of which 1 unit is sellable; #1 is the line at position 1."""
    sku, _, units = text.rpartition("=")
    quantity, _, sellable = units.partition(":")
    fields = line_named(sku) | {"quantity": quantity} | ({"sellable": sellable} if sellable else {})
    if sellable and kind is not ReceivedItem:
        raise typer.BadParameter(f"{text}: must be like MUG=2", param_hint="--item")
    try:
        return kind.model_validate(fields)
    except ValidationError:
        example = "MUG=2 or MUG=2:1" if kind is ReceivedItem else "MUG=2"
        raise typer.BadParameter(f"{text}: must be like {example}", param_hint="--item") from None


def _receipt(items: list[ReceivedItem], *, everything: bool) -> ReturnReceipt:
    try:
        return ReturnReceipt(items=items, everything=everything)
    except ValidationError as error:
        raise BadInput(field_errors(error)) from None


def _row(each: ReturnView, settings: Settings) -> tuple[str, ...]:
    units, back = (sum(getattr(line, name) or 0 for line in each.lines) for name in ("quantity", "received"))
    return (
        each.return_id,
        each.order_id,
        each.state,
        f"{units:,}",
        f"{back:,}" if each.received_at else "",
        each.tracking_number or "",
        money_text(each.refunded, each.currency, settings) if each.refunded else "",
        time_text(each.created_at, settings.zone),
    )


def _line(quantity: int, received: int | None, sellable: int | None, sku: str, title: str) -> tuple[str, ...]:
    counts = ("" if units is None else f"{units:,}" for units in (received, sellable))
    return (f"{quantity:,}", *counts, sku, title)
