"""What groups of commands share: their options, how they reach the shop, and how they tell what they found."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer
from rich.console import Console

from commerce.settings import Settings, load_environment, load_settings

if TYPE_CHECKING:
    from temporalio.client import Client

    from commerce.database import Database

T = TypeVar("T")
out = Console(highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the embedded stack. Default: COMMERCE_DATA_DIR, else .commerce")
]


class Desk(NamedTuple):
    """What an operator works with."""

    client: "Client"
    database: "Database"
    settings: Settings


def ask(data_dir: Path | None, question: Callable[[Desk], Awaitable[T]]) -> T:
    """Connect to the shop of this folder and the environment, and return the answer; raises what both raise."""
    from commerce.database import Database
    from starter.client import connect

    environment = load_environment(data_dir)
    settings = load_settings(environment)
    database = Database(settings.database_url.get_secret_value())

    async def answer() -> T:
        try:
            return await question(Desk(await connect(environment), database, settings))
        finally:
            await database.close()

    return asyncio.run(answer())


def tell(data: Any, line: str, *, as_json: bool) -> None:
    """Print data for programs, or a line for people."""
    if as_json:
        out.print_json(data=data)
    else:
        say(line)


def say(line: str) -> None:
    """Print a line as it is."""
    out.print(line, markup=False, soft_wrap=True)
