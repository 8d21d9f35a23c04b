"""The commands `commerce stock …`: see and set stock."""

from typing import Annotated

import typer

from commerce.messages.base import count_of
from commerce.messages.stock_views import StockItem
from starter.cli.shared import (
    AsJson,
    DataDir,
    out,
    print_error,
    print_line,
    print_result,
    query_shop,
    run_in_transaction,
)
from starter.cli.tables import Column, print_table, time_text

LEVELS = (
    Column("SKU"),
    Column("title", 3, flexible=True),
    Column("location", 1, flexible=True),
    Column("stocked", 2, right=True),
    Column("reserved", 2, right=True),
    Column("available", right=True),
    Column("state", 1, styled=True),
)
HELD = (Column("units", right=True), Column("order"), Column("location", 1, flexible=True))
MOVEMENTS = (
    Column("units", right=True),
    Column("location", 2, flexible=True),
    Column("reason"),
    Column("order or reference", 3, flexible=True),
    Column("time", 1),
)

stock_app = typer.Typer(help="Stock: see it, and set it to what was counted.", no_args_is_help=True)


@stock_app.command("list")
def list_stock(
    search: Annotated[str, typer.Option(help="Only items whose SKU starts like this")] = "",
    oversold: Annotated[
        bool, typer.Option("--oversold", help="Only items of which a count has found less than is reserved")
    ] = False,
    limit: Annotated[int, typer.Option(help="Maximum number of items, 1 to 200")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after this SKU")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List items by SKU, with their stock at each location."""
    from commerce.queries import stock

    page = run_in_transaction(
        data_dir, lambda tx: stock.list_stock(tx, search=search, oversold=oversold, limit=limit, cursor=cursor)
    )
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.items:
        print_table(LEVELS, [row for item in page.items for row in _levels(item)])
    else:
        print_line("No items found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@stock_app.command()
def show(
    sku: Annotated[str, typer.Argument(metavar="SKU", help="SKU of the item")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show the stock of an item: at each location, who has reserved it, and what has moved it last."""
    from commerce.queries import stock

    item, settings = query_shop(data_dir, lambda tx, _settings: stock.load_item(tx, sku))
    if as_json:
        out.print_json(item.model_dump_json())
        return
    print_table(LEVELS, _levels(item))
    if item.reservations:
        print_line("")
        print_table(HELD, [(f"{each.quantity:,}", each.order_id, each.location) for each in item.reservations])
    if item.movements:
        print_line("")
        rows = [
            (
                f"{each.quantity:+,}",
                each.location,
                each.reason,
                each.order_id or each.reference,
                time_text(each.created_at, settings.zone),
            )
            for each in item.movements
        ]
        print_table(MOVEMENTS, rows)


@stock_app.command("set", epilog="Example: commerce stock set MUG-WHITE Main 12 --reason 'Counted the shelf'")
def set_stock(
    sku: Annotated[str, typer.Argument(metavar="SKU", help="SKU of the item")],
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="Name of the location")],
    units: Annotated[int, typer.Argument(metavar="UNITS", help="Units in stock, including reserved ones")],
    reason: Annotated[str, typer.Option(help="Why; stored in the shop's own database only")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Set the stock of an item at a location to what was counted just now.

    Reservations stay. Units of orders that are being packed are not in stock any more. Orders that wait for the item
    are processed if it is enough for them. Earlier counts, of files or of the warehouse, no longer replace this one.
    """
    from commerce import stock_corrections

    result = run_in_transaction(
        data_dir, lambda tx: stock_corrections.set_stock(tx, sku, location, units, reason=reason, actor="")
    )
    data = {"sku": sku, "location": location, "units": units, **result._asdict()}
    print_result(data, f"{sku} at {location}: {count_of(units, 'unit')} instead of {result.before:,}", as_json=as_json)
    if result.oversold:
        print_error("warning: more units are reserved than there are")


def _levels(item: StockItem) -> list[tuple[str, ...]]:
    return [
        (
            item.sku,
            item.title,
            level.location,
            f"{level.stocked:,}",
            f"{level.reserved:,}",
            f"{level.available:,}",
            "oversold" if level.oversold else "",
        )
        for level in item.levels
    ] or [(item.sku, item.title, "", "", "", "0", "no stock known")]
