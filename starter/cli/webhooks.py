"""The commands `commerce webhooks …`: add, list and remove webhooks."""

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.shared import AsJson, DataDir, out, print_line, print_result, run_in_transaction

if TYPE_CHECKING:
    from commerce.messages.webhooks import Endpoint

webhooks_app = typer.Typer(help="Add, list and remove webhooks: URLs that receive events.", no_args_is_help=True)
ID_WIDTH = 36  # characters

EventTypes = Annotated[
    list[str] | None,
    typer.Option("--types", help="Types of the events to send, such as order.placed,order.fulfilled. Default: all"),
]


@webhooks_app.command()
def add(
    url: Annotated[str, typer.Argument(metavar="URL", help="URL that events are posted to")],
    types: EventTypes = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Send events to a URL from now on, and print the secret that signs them.

    The secret is not shown again.
    """
    from commerce import webhooks

    event_types = [name.strip() for part in types or [webhooks.ALL_EVENTS] for name in part.split(",")]
    endpoint = run_in_transaction(data_dir, lambda tx: webhooks.add(tx, url, event_types))
    if as_json:
        out.print_json(data=endpoint.model_dump(mode="json"))
    else:
        print_line(f"{endpoint.id} receives {_events(endpoint)}")
        print_line(f"Its secret, which is not shown again: {endpoint.secret}")


@webhooks_app.command("list")
def list_webhooks(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """List all webhooks. One is disabled if its receiver has answered 410 Gone."""
    from commerce import webhooks

    endpoints = run_in_transaction(data_dir, webhooks.list_endpoints)
    if as_json:
        out.print_json(data=[endpoint.model_dump(mode="json") for endpoint in endpoints])
    elif not endpoints:
        print_line("There are no webhooks yet: add one with `commerce webhooks add URL`")
    else:
        for endpoint in endpoints:
            print_line(f"{endpoint.id}  {endpoint.url}")
            print_line(f"{'':{ID_WIDTH}}  {_events(endpoint)}{_disabled(endpoint)}")


@webhooks_app.command()
def remove(
    endpoint_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook; the list shows it")],
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a webhook. Events that have not been delivered yet are not sent."""
    from commerce import webhooks

    run_in_transaction(data_dir, lambda tx: webhooks.remove(tx, endpoint_id))
    print_result({"id": endpoint_id, "removed": True}, f"{endpoint_id} is removed", as_json=as_json)


def _events(endpoint: "Endpoint") -> str:
    return "all events" if "*" in endpoint.event_types else ", ".join(endpoint.event_types)


def _disabled(endpoint: "Endpoint") -> str:
    return f"; disabled since {endpoint.disabled_at:%Y-%m-%d %H:%M}" if endpoint.disabled_at else ""
