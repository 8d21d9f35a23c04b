"""The commands `commerce export …`: write CSV files for other systems."""

import sys
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from commerce.messages.base import count_of
from commerce.messages.exports import FulfillmentFormat
from commerce.settings import Settings
from starter.cli.shared import DataDir, check_source, print_error, run_with_database

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


Source = Annotated[
    str | None,
    typer.Option(
        callback=check_source,
        metavar="NAME",
        help="Only orders of this shop, as import orders --source names it; default: of all shops",
    ),
]


@export_app.command("fulfillments", epilog="Example: commerce export fulfillments --since 297 --output today.csv")
def fulfillments(
    since: Since = 0,
    source: Source = None,
    layout: Layout = "shopify",
    output: Output = None,
    data_dir: DataDir = None,
) -> None:
    """Export the orders that were shipped, with their tracking numbers, for the shop that they are from.

    The last line on standard error, and the last column of the file, is the number to pass as --since next time. No
    order is missed or exported twice this way, whenever the command runs.
    """

    def export(write: Callable[[str], object]) -> tuple[int, int, Set[str]]:
        async def run(database: "Database", _settings: Settings) -> tuple[int, int, Set[str]]:
            from commerce.fulfillment_export import csv_text, load_page

            count, last, header, sources = 0, since, True, set[str]()
            while True:
                async with database.transaction() as tx:
                    page = await load_page(tx, last, layout=layout, source=source)
                if header or page.rows:
                    write(csv_text(page.rows, layout, header=header))
                if not page.rows:
                    return count, last, sources
                count, last, header, sources = count + page.fulfillments, page.last, False, sources | page.sources

        return run_with_database(data_dir, run)

    if output is None:
        count, last, sources = export(sys.stdout.write)
        sys.stdout.flush()
    else:
        with _new_file(output) as file:
            count, last, sources = export(file.write)
    if len(sources) > 1:
        names = ", ".join(sorted(sources))
        print_error(f"warning: the file has orders of several shops: {names}; --source NAME exports those of one")
    print_error(f"{count_of(count, 'fulfillment')} exported; next time: --since {last}")


@contextmanager
def _new_file(path: Path) -> Iterator[TextIO]:
    """Open a file that appears when it is complete, and not at all if something fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", encoding="utf-8", newline="") as file:
            yield file
        part.replace(path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        with suppress(OSError):
            part.unlink()
