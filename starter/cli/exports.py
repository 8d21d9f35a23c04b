"""The commands `commerce export …`: write CSV files for other systems."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from commerce.messages.exports import FulfillmentFormat
from commerce.settings import Settings
from starter.cli.shared import DataDir, count_of, print_error, run_with_database

if TYPE_CHECKING:
    from commerce.database import Database

export_app = typer.Typer(help="Write CSV files for other systems.", no_args_is_help=True)

Since = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Only what was exported after this number; default: everything")
]
Layout = Annotated[
    FulfillmentFormat, typer.Option("--format", help="The columns: as importers for this shop system read them")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="File to write; it appears when it is complete. Default: stdout")
]


@export_app.command("fulfillments", epilog="Example: commerce export fulfillments --since 297 --output today.csv")
def fulfillments(since: Since = 0, layout: Layout = "shopify", output: Output = None, data_dir: DataDir = None) -> None:
    """Export the orders that were shipped, with their tracking numbers, for the shop that they are from.

    The last line on standard error, and the last column of the file, is the number to pass as --since next time. No
    order is missed or exported twice this way, whenever the command runs.
    """

    def export(write: Callable[[str], object]) -> tuple[int, int]:
        async def run(database: "Database", _settings: Settings) -> tuple[int, int]:
            from commerce.fulfillment_export import csv_text, load_page

            count, last, header = 0, since, True
            while True:
                async with database.transaction() as tx:
                    page = await load_page(tx, last, layout=layout)
                if header or page.rows:
                    write(csv_text(page.rows, layout, header=header))
                if not page.rows:
                    return count, last
                count, last, header = count + page.fulfillments, page.last, False

        return run_with_database(data_dir, run)

    if output is None:
        count, last = export(sys.stdout.write)
        sys.stdout.flush()
    else:
        part = output.with_name(f"{output.name}.part")
        with part.open("w", encoding="utf-8", newline="") as file:
            count, last = export(file.write)
        part.replace(output)
    print_error(f"{count_of(count, 'fulfillment')} exported; next time: --since {last}")
