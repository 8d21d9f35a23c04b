"""The commands `commerce products …`: link order lines to products that they do not name."""

from typing import Annotated

import typer

from commerce.messages.base import count_of
from starter.cli.shared import AsJson, DataDir, out, print_error, print_line, print_result, run_in_transaction

products_app = typer.Typer(help="Link order lines to the products that they are about.", no_args_is_help=True)


@products_app.command()
def unlinked(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List the SKUs and titles in open orders that no product has.

    These orders wait until the products are imported or linked.
    """
    from commerce import listings

    found = run_in_transaction(data_dir, listings.list_unlinked)
    if as_json:
        out.print_json(data=[line.model_dump(mode="json") for line in found])
    elif not found:
        print_line("All lines of open orders are linked to products")
    for line in [] if as_json else found:
        print_line(f"{count_of(line.orders, 'order'):>12}  {'SKU  ' if line.has_sku else 'title'}  {line.text}")


@products_app.command()
def link(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Title of order lines without SKU, or an unknown SKU")],
    sku: Annotated[str, typer.Argument(metavar="SKU", help="SKU of the product that they are about")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Link all order lines with this title or unknown SKU to a product, now and in later orders.

    Orders that waited only for this are processed. Lines that are linked already stay as they are.
    """
    from commerce import listings

    lines = run_in_transaction(data_dir, lambda tx: listings.link(tx, text.strip(), sku.strip()))
    print_result({"lines": lines}, f"{count_of(lines, 'line')} linked", as_json=as_json)
    if not lines:
        print_error("No line has this text yet; later ones will be linked. commerce products unlinked lists the texts")
