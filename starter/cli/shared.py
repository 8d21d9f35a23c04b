"""What the commands share: options, exit codes, connections and output."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import typer
from rich.console import Console
from rich.text import Text

from commerce.errors import Unreachable
from commerce.messages.progress import MARKS, StepProgress
from commerce.order_identity import SOURCE
from commerce.plain_text import escape_controls
from commerce.settings import PREFIX, Settings, load_environment, load_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession
    from temporalio.client import Client

    from commerce.database import Database

T = TypeVar("T")
# Without any of these, or the stack.json of an embedded stack, no shop can be reached: runs are encrypted by default.
NAMES_OF_A_SHOP = {
    *("TEMPORAL_ADDRESS", "TEMPORAL_PROFILE"),
    *(f"{PREFIX}{name}" for name in ("DATABASE_URL", "DATABASE_URL_FILE", "ENCRYPTION")),
    *(f"{PREFIX}{name}" for name in ("ENCRYPTION_KEYS", "ENCRYPTION_KEYS_FILE")),
}
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]  # as options take them
FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130  # exit codes


class SafeConsole(Console):
    """A console that escapes control characters in texts: ids and file contents may come from outsiders."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text as Rich prints it, with control characters escaped."""
        return super().render_str(escape_controls(text, keep_lines=True), **options)


out, err = SafeConsole(highlight=False), SafeConsole(stderr=True, highlight=False)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the embedded stack. Default: COMMERCE_DATA_DIR, else .commerce")
]


class Connections(NamedTuple):
    """The connections of a command, and its settings."""

    client: "Client"
    database: "Database"
    settings: Settings


def in_zone(time: datetime | None, zone: ZoneInfo) -> datetime | None:
    """Return a time of the command line: without an offset it is in the shop's time zone."""
    return time.replace(tzinfo=zone) if time and time.tzinfo is None else time


def check_source(name: str | None) -> str | None:
    """Return the name of a shop that orders are from, as an option gives it; raises BadParameter."""
    if name is not None and not SOURCE.fullmatch(name):
        raise typer.BadParameter("must be 1 to 40 of the characters A-Z a-z 0-9 . _ -")
    return name


def run_connected(data_dir: Path | None, action: Callable[[Connections], Awaitable[T]]) -> T:
    """Run an action with connections to Temporal and the database, and return its result.

    Raises SettingsError, Unreachable, and what the action raises.
    """
    from starter.client import connect

    environment = load_environment(data_dir)
    if not environment.keys() & NAMES_OF_A_SHOP:
        raise Unreachable(f"No shop runs in {environment[f'{PREFIX}DATA_DIR']}")

    async def connect_and_run(database: "Database", settings: Settings) -> T:
        return await action(Connections(await connect(environment), database, settings))

    return run_with_database(data_dir, connect_and_run)


def run_in_transaction(data_dir: Path | None, action: Callable[["AsyncSession"], Awaitable[T]]) -> T:
    """Run an action in one database transaction, and return its result; raises SettingsError and what it raises."""

    return query_shop(data_dir, lambda tx, _settings: action(tx))[0]


def query_shop(data_dir: Path | None, query: Callable[["AsyncSession", Settings], Awaitable[T]]) -> tuple[T, Settings]:
    """Run a query in one database transaction; return what it found, and the settings that its output needs."""

    async def begin_and_query(database: "Database", settings: Settings) -> tuple[T, Settings]:
        async with database.transaction() as tx:
            return await query(tx, settings), settings

    return run_with_database(data_dir, begin_and_query)


def run_with_database(data_dir: Path | None, action: Callable[["Database", Settings], Awaitable[T]]) -> T:
    """Run an action with the database, and return its result; raises SettingsError and what the action raises."""
    from commerce.database import Database

    settings = load_settings(load_environment(data_dir))
    database = Database.of(settings)

    async def run_and_close() -> T:
        try:
            return await action(database, settings)
        finally:
            await database.close()

    return asyncio.run(run_and_close())


def print_result(data: Any, line: str, *, as_json: bool) -> None:
    """Print a command's result: the data as JSON, or a line of text."""
    if as_json:
        out.print_json(data=data)
    else:
        print_line(line)


def print_line(line: str) -> None:
    """Print a line to standard output, without markup or wrapping."""
    out.print(line, markup=False, soft_wrap=True)


def print_error(line: str) -> None:
    """Print a line to standard error, without markup or wrapping."""
    err.print(line, markup=False, soft_wrap=True)


def step_line(step: StepProgress, attempts: str = "") -> str:
    """Return the line that shows the progress of one step."""
    return "  ".join(
        filter(None, (f"{MARKS[step.state]} {step.name}", step.waiting_line(), step.note, attempts, step.error))
    )
