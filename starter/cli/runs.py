"""The commands `commerce runs …`: list, show, retry and cancel processes."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Column, Table

from commerce.errors import PermanentError
from commerce.messages.runs import Page, ProcessStatus, Run, StatusFilter
from starter.cli.shared import (
    FAILED,
    AsJson,
    Connections,
    DataDir,
    count_of,
    out,
    print_line,
    print_result,
    run_connected,
    step_line,
)

MAX_WAIT = timedelta(hours=1)  # for a cancelled process to undo its steps
LABEL_WIDTH = 10  # characters

runs_app = typer.Typer(help="List, show, retry and cancel processes.", no_args_is_help=True)

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


@runs_app.command()
def retry(
    process_id: ProcessId,
    reason: Reason,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show the process")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Run a failed, cancelled or interrupted process again with the same input.

    The new run first undoes the steps that older runs left done. Exit code 1: the retry was refused, or with --wait,
    the process failed again.
    """
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
        table = Table(Column("process", overflow="fold"), "status", "started", "ended", "failed at")
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
    )


def _status_and_state(run: Run) -> str:
    """Return Temporal's status and the process's own state, or one of them if they are the same word."""
    return ", ".join(dict.fromkeys(filter(None, (run.status, run.state))))


def _local_time(time: datetime | None, zone: ZoneInfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}" if time else ""


def _print_action(process_id: str, run_id: str, action: str, line: str, *, as_json: bool) -> None:
    data = {"transaction_id": process_id, "run_id": run_id, "action": action}
    print_result(data, line, as_json=as_json)
