"""The commands `commerce runs …`: how processes stand, and what operators do to them."""

from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.table import Column, Table

from commerce.errors import PermanentError
from commerce.messages.progress import MARKS
from commerce.messages.runs import Page, Run, Status, StepStatus, StatusFilter
from starter.cli.shared import AsJson, DataDir, Desk, ask, out, say, tell

FAILED = 1
WAIT = timedelta(hours=1)  # for a process to undo itself
LABEL = 10  # characters

runs_app = typer.Typer(help="Processes: how they stand, and what to do about them.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The process, like order-processing-1001")]
Reason = Annotated[str, typer.Option(help="Why; it is kept in the shop's own database")]
Kind = Annotated[str | None, typer.Option("--type", help="Only this kind, like order-processing")]
Limit = Annotated[int, typer.Option(help="So many at most, 1 to 500")]
Cursor = Annotated[str | None, typer.Option(help="What the page before gave, to go on behind it")]


@runs_app.command("list")
def list_runs(
    status: Annotated[StatusFilter | None, typer.Option(help="Only those that stand so")] = None,
    kind: Kind = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> None:
    """Show processes, each by its latest run, the latest ended first."""
    _list(status, kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def failed(
    kind: Kind = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Show processes that failed, timed out or were terminated, and have not been retried since."""
    _list("failed", kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def stuck(
    kind: Kind = None, limit: Limit = 50, cursor: Cursor = None, as_json: AsJson = False, data_dir: DataDir = None
) -> None:
    """Show processes that are open because their own code fails; they go on once a worker with better code runs."""
    _list("stuck", kind, limit, cursor, as_json=as_json, data_dir=data_dir)


@runs_app.command()
def show(process_id: Id, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Show how a process stands, step by step, and what it is stuck at or failed with."""
    _show(ask(data_dir, lambda desk: _shown(desk, process_id)), as_json=as_json)


@runs_app.command()
def retry(
    process_id: Id,
    reason: Reason,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for the end and show it")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Start a process again that failed or was cut off; what is left of older runs is undone first."""
    from starter.client import wait_for_result
    from starter.operate.actions import retry

    async def act(desk: Desk) -> tuple[str, Status | None]:
        run_id = await retry(desk.client, desk.database, process_id, reason=reason)
        if not wait:
            return run_id, None
        with suppress(PermanentError):
            await wait_for_result(desk.client.get_workflow_handle(process_id, run_id=run_id))
        return run_id, await _shown(desk, process_id)

    run_id, end = ask(data_dir, act)
    if end is None:
        _acted(process_id, run_id, "retry", f"{process_id} runs again", as_json=as_json)
        return 0
    _show(end, as_json=as_json)
    return 0 if end.status == "completed" else FAILED


@runs_app.command()
def cancel(
    process_id: Id,
    reason: Reason,
    wait: Annotated[bool, typer.Option(help="Wait until it is undone and show it")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Let a process undo itself; one that is past its point of no return ends well all the same."""
    from starter.operate.actions import cancel

    async def act(desk: Desk) -> tuple[str, Status | None]:
        run_id = await cancel(desk.client, desk.database, process_id, reason=reason, wait=WAIT if wait else None)
        return run_id, await _shown(desk, process_id) if wait else None

    run_id, end = ask(data_dir, act)
    if end is None:
        _acted(process_id, run_id, "cancel", f"{process_id} is asked to undo itself", as_json=as_json)
        return 0
    _show(end, as_json=as_json)
    return 0 if end.status == "cancelled" else FAILED


def _list(
    status: StatusFilter | None, kind: str | None, limit: int, cursor: str | None, *, as_json: bool, data_dir: Path | None
) -> None:
    from starter.operate.process_list import list_processes

    async def look(desk: Desk) -> tuple[Page, ZoneInfo]:
        return await list_processes(desk.client, status, kind, limit, cursor), desk.settings.zone

    page, zone = ask(data_dir, look)
    if as_json:
        out.print_json(page.model_dump_json())
        return
    if page.workflows:
        table = Table(Column("process", overflow="fold"), "stands", "started", "ended", "failed at")
        for run in page.workflows:
            table.add_row(*_row(run, zone))
        out.print(table)
    else:
        say("There are none")
    if page.next_cursor:
        say(f"There may be more: --cursor {page.next_cursor}")


async def _shown(desk: Desk, process_id: str) -> Status:
    from starter.operate.process_status import get_status

    return await get_status(desk.client, process_id, ui=desk.settings.temporal_ui_url)


def _show(found: Status, *, as_json: bool) -> None:
    if as_json:
        out.print_json(found.model_dump_json())
        return
    facts = {
        found.transaction_id: _stands(found),
        "run": found.run_id,
        "started": found.started_at.isoformat(timespec="seconds"),
        "ended": found.ended_at and found.ended_at.isoformat(timespec="seconds"),
        "failed at": found.failed_step,
        "error": found.error,
        "steps": found.progress_missing,
        "page": found.ui_url,
    }
    for label, value in facts.items():
        if value is not None:
            say(f"{label:<{LABEL}}  {value}")
    for step in found.progress.steps if found.progress else ():
        say("  ".join(filter(None, (f"{MARKS[step.state]} {step.name}", step.note, _tries(step), step.error))))
    if found.result is not None:
        out.print_json(data=found.result)


def _row(run: Run, zone: ZoneInfo) -> tuple[str, ...]:
    return (
        run.transaction_id,
        _stands(run),
        _time(run.started_at, zone),
        _time(run.ended_at, zone),
        run.failed_step or "",
    )


def _stands(run: Run) -> str:
    """Return how a process stands, in one word where two would say the same."""
    return ", ".join(dict.fromkeys(filter(None, (run.status, run.state))))


def _tries(step: StepStatus) -> str:
    return f"{step.attempts} attempts" if step.attempts > 1 else ""


def _time(time: datetime | None, zone: ZoneInfo) -> str:
    return f"{time.astimezone(zone):%Y-%m-%d %H:%M:%S}" if time else ""


def _acted(process_id: str, run_id: str, action: str, line: str, *, as_json: bool) -> None:
    data = {"transaction_id": process_id, "run_id": run_id, "action": action}
    tell(data, line, as_json=as_json)
