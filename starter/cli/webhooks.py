"""The commands `commerce webhooks …`: add, list, test and remove webhooks, and see what they get."""

from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from commerce.messages.runs import Page, StatusFilter
from starter.cli.shared import (
    FAILED,
    AsJson,
    Connections,
    DataDir,
    out,
    print_line,
    print_result,
    run_connected,
    run_in_transaction,
    run_with_database,
)
from starter.cli.tables import Column, print_table, time_text

if TYPE_CHECKING:
    from commerce.messages.webhooks import Endpoint

DELIVERIES = (
    Column("event"),
    Column("status", styled=True),
    Column("started", 1),
    Column("ended", 2),
    Column("with", 1, flexible=True),
)
PORT = 9010

webhooks_app = typer.Typer(help="Webhooks: URLs that receive events.", no_args_is_help=True)
ID_WIDTH = 36  # characters
KIND = "deliver-webhook"

WebhookId = Annotated[str, typer.Argument(metavar="ID", help="Id of the webhook; the list shows it")]
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

    endpoint = run_in_transaction(data_dir, lambda tx: webhooks.add(tx, url, _names(types)))
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
    endpoint_id: WebhookId,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Remove a webhook. Events that have not been delivered yet are not sent."""
    from commerce import webhooks

    run_in_transaction(data_dir, lambda tx: webhooks.remove(tx, endpoint_id))
    print_result({"id": endpoint_id, "removed": True}, f"{endpoint_id} is removed", as_json=as_json)


@webhooks_app.command()
def test(endpoint_id: WebhookId, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Post a signed event of the type webhook.test once, from here, and print what the receiver answers.

    Exit code 1: the receiver has not accepted it.
    """
    from starter.operate.webhook_tests import send_test

    result = run_with_database(
        data_dir, lambda database, settings: send_test(database, settings, endpoint_id, actor="")
    )
    reason = "it wants no more events (410)" if result.status == "gone" else result.error
    line = "The receiver has accepted the test event"
    print_result(
        result.model_dump(mode="json"),
        line if result.status == "delivered" else f"The receiver has not accepted the test event: {reason}",
        as_json=as_json,
    )
    return 0 if result.status == "delivered" else FAILED


@webhooks_app.command()
def deliveries(
    endpoint_id: WebhookId,
    status: Annotated[StatusFilter | None, typer.Option(help="Only deliveries with this status")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of deliveries, 1 to 500")] = 50,
    cursor: Annotated[str | None, typer.Option(help="Continue after the page that printed this cursor")] = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List the deliveries to a webhook, last ended first.

    Each is a process deliver-webhook-WEBHOOK-EVENT, which commerce runs shows, retries and dismisses.
    """
    from commerce import webhooks
    from starter.operate.process_list import Narrowing, list_processes

    async def load(connections: Connections) -> tuple[Page, ZoneInfo]:
        async with connections.database.transaction() as tx:
            endpoint = await webhooks.find(tx, endpoint_id)
        only = Narrowing(search=f"{KIND}-{endpoint.id}-")
        page = await list_processes(
            connections.client, status, KIND, limit, cursor, only=only, database=connections.database
        )
        return page, connections.settings.zone

    page, zone = run_connected(data_dir, load)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.workflows:
        start = len(f"{KIND}-{endpoint_id}-")
        rows = [
            (
                run.transaction_id[start:],
                run.outcome or run.status,
                time_text(run.started_at, zone),
                time_text(run.ended_at, zone),
                run.failure_type or "",
            )
            for run in page.workflows
        ]
        print_table(DELIVERIES, rows)
    else:
        print_line("No deliveries found")
    if page.next_cursor:
        print_line(f"There are more: --cursor {page.next_cursor}")


@webhooks_app.command(epilog="Example: commerce webhooks listen --types order.placed,order.fulfilled")
def listen(
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen at on this machine")] = PORT,
    types: EventTypes = None,
    secret: Annotated[
        str | None, typer.Option(help="Secret of a webhook that leads here already; default: add one meanwhile")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Receive events on this machine, check their signatures and print them, until Ctrl-C.

    A webhook is added for it, and removed at the end. Events come from now on. The worker must run on this machine.
    """
    from starter.cli.webhook_listener import listen

    run_with_database(data_dir, lambda database, _settings: listen(database, port, _names(types), print_line, secret))


def _names(types: list[str] | None) -> list[str]:
    from commerce.webhooks import ALL_EVENTS

    return [name.strip() for part in types or [ALL_EVENTS] for name in part.split(",")]


def _events(endpoint: "Endpoint") -> str:
    return "all events" if "*" in endpoint.event_types else ", ".join(endpoint.event_types)


def _disabled(endpoint: "Endpoint") -> str:
    return f"; disabled since {endpoint.disabled_at:%Y-%m-%d %H:%M}" if endpoint.disabled_at else ""
