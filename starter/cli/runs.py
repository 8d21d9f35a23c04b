"""The commands `commerce runs …`: list, show, retry and cancel processes."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Column, Table

from commerce.errors import BadInput, PermanentError
from commerce.messages.base import FieldError, count_of
from commerce.messages.runs import Page, ProcessStatus, RetryableStatus, Run, StatusFilter
from starter.cli.answers import answer
from starter.cli.shared import (
    FAILED,
    AsJson,
    Connections,
    DataDir,
    in_zone,
    out,
    print_line,
    print_result,
    run_connected,
    step_line,
)

MAX_WAIT = timedelta(hours=1)  # for a cancelled process to undo its steps
LABEL_WIDTH = 10  # characters
TIMES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%S%z"]

runs_app = typer.Typer(help="List, show, retry, cancel and answer processes.", no_args_is_help=True)
runs_app.command()(answer)

ProcessId = Annotated[str, typer.Argument(metavar="ID", help="Process id, such as order-processing-1001")]
Reason = Annotated[str, typer.Option(help="Why; stored in the shop's own database only")]
Kind = Annotated[str | None, typer.Option("--type", help="Only processes of this type, such as order-processing")]
Limit = Annotated[int, typer.Option(help="Maximum number of processes, 1 to 500")]
Cursor = Annotated[str | None, typer.Option(help="Continue after the previous page, which printed this cursor")]


@runs_app.command("list")
def list_runs(
    status: Annotated[StatusFilter | None, typer.Option(help="Only processes with this status")] = None,
    kind: Kind = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """List processes with their latest runs, last ended first."""
    _list(status, kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def failed(
    kind: Kind = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """List processes whose latest run failed, timed out or was terminated."""
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
    _print_status(run_connected(data_dir, lambda connections: _get_status(connections, process_id)), as_json=as_json)


@runs_app.command(epilog="Example: commerce runs retry --failed-with CarrierRefused --since 2026-03-01 --dry-run")
def retry(
    process_id: Annotated[
        str | None, typer.Argument(metavar="[ID]", help="Process id, such as order-processing-1001; or use filters")
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(help="Why; stored in the shop's own database only. Required with an id; default: the filters"),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show the process")] = False,
    failed_with: Annotated[
        str | None, typer.Option(help="All that failed with this type of error, such as CarrierRefused")
    ] = None,
    failed_step: Annotated[
        str | None, typer.Option(help="All that failed at this step, such as create-shipping-label")
    ] = None,
    status: Annotated[
        RetryableStatus | None, typer.Option(help="All with this status; with other filters, default: failed")
    ] = None,
    kind: Kind = None,
    since: Annotated[datetime | None, typer.Option(formats=TIMES, help="All that ended since; shop's time")] = None,
    until: Annotated[datetime | None, typer.Option(formats=TIMES, help="All that ended before; shop's time")] = None,
    limit: Annotated[int, typer.Option(help="Maximum number of processes, 1 to 1,000")] = 500,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the filters select, and retry nothing")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Retry all that the filters select without asking")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Run failed, cancelled or interrupted processes again with the same input: one by its id, or many by filters.

    The new runs first undo the steps that older runs left done. Several filters select what all of them name, by the
    latest run of each process. Exit code 1: a retry was refused, nothing was confirmed, or with --wait, the process
    failed again.
    """
    filters = {
        "--failed-with": failed_with,
        "--failed-step": failed_step,
        "--status": status,
        "--type": kind,
        "--since": since and since.isoformat(),
        "--until": until and until.isoformat(),
    }
    given = " ".join(f"{name} {value}" for name, value in filters.items() if value is not None)
    if process_id is not None:
        if given or dry_run:
            raise BadInput([FieldError(field="ID", message="cannot be used together with filters or --dry-run")])
        if reason is None:
            raise typer.TyperException("Missing option '--reason'.")
        return _retry_one(process_id, reason, wait=wait, as_json=as_json, data_dir=data_dir)
    if not given or wait:
        raise BadInput([FieldError(field="ID", message="missing; only filters can replace it, and not with --wait")])

    async def retry_selected(connections: Connections) -> int:
        from starter.cli.bulk_retry import retry_many
        from starter.operate.bulk_retry import Selection

        zone = connections.settings.zone
        selection = Selection(
            status=status or "failed",
            kind=kind,
            failed_with=failed_with,
            failed_step=failed_step,
            since=in_zone(since, zone),
            until=in_zone(until, zone),
        )
        return await retry_many(
            connections, selection, reason=reason or given, limit=limit, dry_run=dry_run, yes=yes, as_json=as_json
        )

    return run_connected(data_dir, retry_selected)


def _retry_one(process_id: str, reason: str, *, wait: bool, as_json: bool, data_dir: Path | None) -> int:
    from starter.client import wait_for_result
    from starter.operate.actions import retry

    async def start_retry(connections: Connections) -> tuple[str, ProcessStatus | None]:
        run_id = await retry(connections.client, connections.database, process_id, reason=reason)
        if not wait:
            return run_id, None
        with suppress(PermanentError):
            await wait_for_result(connections.client.get_workflow_handle(process_id, run_id=run_id))
        return run_id, await _get_status(connections, process_id)

    run_id, final = run_connected(data_dir, start_retry)
    if final is None:
        _print_action(process_id, run_id, "retry", f"{process_id} is running again", as_json=as_json)
        return 0
    _print_status(final, as_json=as_json)
    return 0 if final.status == "completed" else FAILED


@runs_app.command()
def cancel(
    process_id: ProcessId,
    reason: Reason,
    wait: Annotated[bool, typer.Option(help="Wait until its steps are undone and show the process")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Cancel a running process: it undoes its completed steps.

    After its final step a process cannot be undone; it completes instead. Exit code 1: the process was not cancelled.
    """
    from starter.operate.actions import cancel

    async def request_cancel(connections: Connections) -> tuple[str, ProcessStatus | None]:
        client, database, _ = connections
        run_id = await cancel(client, database, process_id, reason=reason, wait=MAX_WAIT if wait else None)
        return run_id, await _get_status(connections, process_id) if wait else None

    run_id, final = run_connected(data_dir, request_cancel)
    if final is None:
        _print_action(process_id, run_id, "cancel", f"{process_id} is being cancelled", as_json=as_json)
        return 0
    _print_status(final, as_json=as_json)
    return 0 if final.status == "cancelled" else FAILED


def _list(
    status: StatusFilter | None,
    kind: str | None,
    limit: int,
    cursor: str | None,
    *,
    as_json: bool,
    data_dir: Path | None,
) -> None:
    from starter.operate.process_list import list_processes

    async def load_page(connections: Connections) -> tuple[Page, ZoneInfo]:
        return await list_processes(connections.client, status, kind, limit, cursor), connections.settings.zone

    page, zone = run_connected(data_dir, load_page)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.workflows:
        table = Table(
            *(Column(name, overflow="fold") for name in ("process", "status", "started", "ended", "failed at", "with"))
        )
        for run in page.workflows:
            table.add_row(*_row(run, zone))
        out.print(table)
    else:
        print_line("No processes found")
    if page.next_cursor:
        print_line(f"There may be more: --cursor {page.next_cursor}")


async def _get_status(connections: Connections, process_id: str) -> ProcessStatus:
    from starter.operate.process_status import get_status

    return await get_status(connections.client, process_id, ui=connections.settings.temporal_ui_url)


def _print_status(status: ProcessStatus, *, as_json: bool) -> None:
    if as_json:
        out.print_json(status.model_dump_json())
        return
    facts = {
        status.transaction_id: _status_and_state(status),
        "run": status.run_id,
        "started": status.started_at.isoformat(timespec="seconds"),
        "ended": status.ended_at and status.ended_at.isoformat(timespec="seconds"),
        "failed at": status.failed_step,
        "error": status.error,
        "steps": status.progress_missing,
        "page": status.ui_url,
    }
    for label, value in facts.items():
        if value is not None:
            print_line(f"{label:<{LABEL_WIDTH}}  {value}")
    for step in status.progress.steps if status.progress else ():
        print_line(step_line(step, count_of(step.attempts, "attempt") if step.attempts > 1 else ""))
    if status.result is not None:
        out.print_json(data=status.result)


def _row(run: Run, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        run.transaction_id,
        _status_and_state(run),
        _local_time(run.started_at, zone),
        _local_time(run.ended_at, zone),
        run.failed_step or "",
        run.failure_type or "",
    )


def _status_and_state(run: Run) -> str:
    """Return Temporal's status and the process's own state, or one of them if they are the same word.

    A completed process that has undone its steps, or waits, is better described by its outcome.
    """
    if run.waiting_for:
        return f"{run.status}, waiting for {run.waiting_for}"
    state = run.state if run.state == run.status else run.outcome or run.state
    return ", ".join(dict.fromkeys(filter(None, (run.status, state))))


def _local_time(time: datetime | None, zone: ZoneInfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}" if time else ""


def _print_action(process_id: str, run_id: str, action: str, line: str, *, as_json: bool) -> None:
    data = {"transaction_id": process_id, "run_id": run_id, "action": action}
    print_result(data, line, as_json=as_json)
