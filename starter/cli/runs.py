"""The commands `commerce runs …`: list and show processes; `run_actions.py` has those that change them."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from commerce.messages.runs import Page, Run, StatusFilter
from starter.cli import run_actions
from starter.cli.answers import answer
from starter.cli.run_actions import Kind, ProcessId
from starter.cli.run_view import get_status, print_status, status_and_state
from starter.cli.shared import TIMES, AsJson, Connections, DataDir, in_zone, out, print_line, run_connected
from starter.cli.tables import Column, print_table, time_text

if TYPE_CHECKING:
    from starter.operate.process_list import Narrowing

LISTED = (
    Column("process"),
    Column("status", styled=True),
    Column("started", 3),
    Column("ended", 1),
    Column("failed at", 2, flexible=True),
    Column("with", 1, flexible=True),
)

runs_app = typer.Typer(help="List, show, retry, cancel, dismiss and answer processes.", no_args_is_help=True)
runs_app.command()(answer)
runs_app.command(epilog="Example: commerce runs retry --failed-with CarrierRefused --since 2026-03-01 --dry-run")(
    run_actions.retry
)
runs_app.command(epilog="Example: commerce runs cancel --type deliver-webhook --since 2026-03-01 --dry-run")(
    run_actions.cancel
)
runs_app.command()(run_actions.dismiss)

Limit = Annotated[int, typer.Option(help="Maximum number of processes, 1 to 500")]
Cursor = Annotated[str | None, typer.Option(help="Continue after the previous page, which printed this cursor")]


@runs_app.command("list")
def list_runs(
    status: Annotated[StatusFilter | None, typer.Option(help="Only processes with this status")] = None,
    kind: Kind = None,
    outcome: Annotated[
        str | None, typer.Option(help="Only completed processes with this result, such as insufficient_inventory")
    ] = None,
    search: Annotated[
        str | None, typer.Option(help="How the process id starts, or the id of an order or customer")
    ] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=TIMES, help="Only those that ended since, or run since")
    ] = None,
    until: Annotated[datetime | None, typer.Option(formats=TIMES, help="Only those that ended before")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List processes with their latest runs, last ended first.

    Several filters select what all of them name. Times without an offset are in the shop's time zone; those of running
    processes are their starts. With --status failed, dismissed processes are left out.
    """

    def narrow(zone: ZoneInfo) -> "Narrowing":
        from starter.operate.process_list import Narrowing

        return Narrowing(outcome=outcome, search=search, since=in_zone(since, zone), until=in_zone(until, zone))

    _list(status, kind, limit, cursor, narrow, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def failed(
    kind: Kind = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """List processes whose latest run failed, timed out or was terminated, without those that were dismissed."""
    _list("failed", kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def stuck(
    kind: Kind = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """List running processes whose workflow code fails.

    They continue as soon as a worker with fixed code runs.
    """
    _list("stuck", kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def show(process_id: ProcessId, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show a process with all its steps, and why it failed or is stuck."""
    print_status(run_connected(data_dir, lambda connections: get_status(connections, process_id)), as_json=as_json)


def _list(
    status: StatusFilter | None,
    kind: str | None,
    limit: int,
    cursor: str | None,
    narrow: "Callable[[ZoneInfo], Narrowing] | None" = None,
    *,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    from starter.operate.process_list import EVERYTHING, list_processes

    async def load_page(connections: Connections) -> tuple[Page, ZoneInfo]:
        zone = connections.settings.zone
        only = narrow(zone) if narrow else EVERYTHING
        page = await list_processes(
            connections.client, status, kind, limit, cursor, only=only, database=connections.database
        )
        return page, zone

    page, zone = run_connected(data_dir, load_page)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.workflows:
        print_table(LISTED, [_row(run, zone) for run in page.workflows])
    else:
        print_line("No processes found")
    if page.next_cursor:
        print_line(f"There may be more: --cursor {page.next_cursor}")


def _row(run: Run, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        run.transaction_id,
        status_and_state(run),
        time_text(run.started_at, zone),
        time_text(run.ended_at, zone),
        run.failed_step or "",
        run.failure_type or "",
    )
