"""The commands `commerce webhooks …`: who outside gets our events."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from commerce.settings import load_environment, load_settings
from starter.cli.shared import AsJson, DataDir, out, say, tell

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from commerce.messages.webhooks import Endpoint

T = TypeVar("T")

webhooks_app = typer.Typer(help="Who outside gets our events.", no_args_is_help=True)
ID_WIDTH = 36

Types = Annotated[
    list[str] | None,
    typer.Option("--types", help="Like order.placed,order.fulfilled. Default: all"),
]


@webhooks_app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="Where events are posted to")],
    types: Types = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Let a URL get events from now on; its secret is shown this once."""
    from commerce import webhooks

    wanted = [name.strip() for part in types or [webhooks.ALL_EVENTS] for name in part.split(",")]
    added = _ask(data_dir, lambda tx: webhooks.add(tx, url, wanted))
    if as_json:
        out.print_json(data=added.model_dump(mode="json"))
    else:
        say(f"{added.id} gets {_wants(added)}")
        say(f"Its secret, which is not shown again: {added.secret}")


@webhooks_app.command("list")
def list_webhooks(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show every webhook, and whether it is disabled: its receiver has answered 410 Gone."""
    from commerce import webhooks

    found = _ask(data_dir, webhooks.list_endpoints)
    if as_json:
        out.print_json(data=[endpoint.model_dump(mode="json") for endpoint in found])
    elif not found:
        say("There are no webhooks yet: `commerce webhooks add URL`")
    else:
        for endpoint in found:
            say(f"{endpoint.id}  {endpoint.url}")
            say(f"{'':{ID_WIDTH}}  {_wants(endpoint)}{_state(endpoint)}")


@webhooks_app.command()
def remove(
    endpoint_id: Annotated[str, typer.Argument(metavar="ID", help="The webhook's id, as the list shows it")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Let a webhook get no more events, those on their way included."""
    from commerce import webhooks

    _ask(data_dir, lambda tx: webhooks.remove(tx, endpoint_id))
    tell({"id": endpoint_id, "removed": True}, f"{endpoint_id} is removed", as_json=as_json)


def _ask(data_dir: Path | None, question: Callable[["AsyncSession"], Awaitable[T]]) -> T:
    from commerce.database import Database

    database = Database(load_settings(load_environment(data_dir)).database_url.get_secret_value())

    async def ask() -> T:
        try:
            async with database.transaction() as tx:
                return await question(tx)
        finally:
            await database.close()

    return asyncio.run(ask())


def _wants(endpoint: "Endpoint") -> str:
    return "all events" if "*" in endpoint.event_types else ", ".join(endpoint.event_types)


def _state(endpoint: "Endpoint") -> str:
    return f"; disabled since {endpoint.disabled_at:%Y-%m-%d %H:%M}" if endpoint.disabled_at else ""
