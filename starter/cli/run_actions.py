"""The commands that change processes: `commerce runs retry`, `cancel` and `dismiss`."""

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from commerce.errors import BadInput, PermanentError
from commerce.messages.base import FieldError
from commerce.messages.runs import CancellableStatus, ProcessStatus, RetryableStatus
from starter.cli.bulk import Flags, cancel_many, retry_many
from starter.cli.run_view import get_status, print_status
from starter.cli.shared import FAILED, TIMES, AsJson, Connections, DataDir, in_zone, print_result, run_connected

if TYPE_CHECKING:
    from starter.operate import bulk_cancel, bulk_retry

MAX_WAIT = timedelta(hours=1)  # for a cancelled process to undo its steps

ProcessId = Annotated[str, typer.Argument(metavar="ID", help="Process id, such as order-processing-1001")]
Reason = Annotated[str, typer.Option(help="Why; stored in the shop's own database only")]
Kind = Annotated[str | None, typer.Option("--type", help="Only processes of this type, such as order-processing")]
IdOrFilters = Annotated[
    str | None, typer.Argument(metavar="[ID]", help="Process id, such as order-processing-1001; or use filters")
]
ReasonOrFilters = Annotated[
    str | None,
    typer.Option(help="Why; stored in the shop's own database only. Required with an id; default: the filters"),
]
Limit = Annotated[int, typer.Option(help="Maximum number of processes, 1 to 1,000")]


def retry(
    process_id: IdOrFilters = None,
    reason: ReasonOrFilters = None,
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
    limit: Limit = 500,
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
    filters = _text_of(
        {
            "--failed-with": failed_with,
            "--failed-step": failed_step,
            "--status": status,
            "--type": kind,
            "--since": since,
            "--until": until,
        }
    )
    if process_id is not None:
        why = _reason_for_one(reason, filters, dry_run=dry_run)
        return _retry_one(process_id, why, wait=wait, as_json=as_json, data_dir=data_dir)
    if not filters or wait:
        raise BadInput([FieldError(field="ID", message="missing; only filters can replace it, and not with --wait")])

    def select(zone: ZoneInfo) -> "bulk_retry.Selection":
        from starter.operate.bulk_retry import Selection

        return Selection(
            status=status or "failed",
            kind=kind,
            failed_with=failed_with,
            failed_step=failed_step,
            since=in_zone(since, zone),
            until=in_zone(until, zone),
        )

    return retry_many(select, limit, reason or filters, Flags(dry_run, yes, as_json), data_dir)


def cancel(
    process_id: IdOrFilters = None,
    reason: ReasonOrFilters = None,
    wait: Annotated[
        bool | None, typer.Option(help="Wait until its steps are undone and show the process; only with an id")
    ] = None,
    status: Annotated[
        CancellableStatus | None, typer.Option(help="All with this status; with other filters, default: running")
    ] = None,
    kind: Kind = None,
    search: Annotated[str | None, typer.Option(help="All whose process id starts like this")] = None,
    since: Annotated[datetime | None, typer.Option(formats=TIMES, help="All that started since; shop's time")] = None,
    until: Annotated[datetime | None, typer.Option(formats=TIMES, help="All that started before; shop's time")] = None,
    limit: Limit = 500,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what the filters select, and cancel nothing")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Cancel all that the filters select without asking")] = False,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Cancel running processes, which undo their completed steps: one by its id, or many by filters.

    After its final step a process cannot be undone; it completes instead. Filters need a type, a time or a search, and
    do not wait. Exit code 1: a process was not cancelled, or nothing was confirmed.
    """
    filters = _text_of({"--status": status, "--type": kind, "--search": search, "--since": since, "--until": until})
    if process_id is not None:
        why = _reason_for_one(reason, filters, dry_run=dry_run)
        return _cancel_one(process_id, why, wait=wait is not False, as_json=as_json, data_dir=data_dir)
    if wait or not (kind or search or since or until):
        problem = "missing; only a type, a time or a search can replace it, and not with --wait"
        raise BadInput([FieldError(field="ID", message=problem)])

    def select(zone: ZoneInfo) -> "bulk_cancel.Selection":
        from starter.operate.bulk_cancel import Selection
        from starter.operate.process_list import Narrowing

        only = Narrowing(search=search, since=in_zone(since, zone), until=in_zone(until, zone))
        return Selection(status=status or "running", kind=kind, only=only)

    return cancel_many(select, limit, reason or filters, Flags(dry_run, yes, as_json), data_dir)


def dismiss(process_id: ProcessId, reason: Reason, as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Take a failed process off the list of failed ones, because nobody has to do anything about it.

    If it is retried and fails again, it is on the list again.
    """
    from starter.operate.actions import dismiss

    run_id = run_connected(
        data_dir, lambda connections: dismiss(connections.client, connections.database, process_id, reason=reason)
    )
    _print_action(process_id, run_id, "dismiss", f"{process_id} is dismissed", as_json=as_json)


def _text_of(filters: Mapping[str, str | datetime | None]) -> str:
    """Return the filters that were used, as on the command line."""
    values = {name: value.isoformat() if isinstance(value, datetime) else value for name, value in filters.items()}
    return " ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _reason_for_one(reason: str | None, filters: str, *, dry_run: bool) -> str:
    """Return the reason of a command with an id; raises BadInput with filters, TyperException without a reason."""
    if filters or dry_run:
        raise BadInput([FieldError(field="ID", message="cannot be used together with filters or --dry-run")])
    if reason is None:
        raise typer.TyperException("Missing option '--reason'.")
    return reason


def _cancel_one(process_id: str, reason: str, *, wait: bool, as_json: bool, data_dir: Path | None) -> int:
    from starter.operate.actions import cancel

    async def request_cancel(connections: Connections) -> tuple[str, ProcessStatus | None]:
        client, database, _ = connections
        run_id = await cancel(client, database, process_id, reason=reason, wait=MAX_WAIT if wait else None)
        return run_id, await get_status(connections, process_id) if wait else None

    run_id, final = run_connected(data_dir, request_cancel)
    if final is None:
        _print_action(process_id, run_id, "cancel", f"{process_id} is being cancelled", as_json=as_json)
        return 0
    print_status(final, as_json=as_json)
    return 0 if final.status == "cancelled" else FAILED


def _retry_one(process_id: str, reason: str, *, wait: bool, as_json: bool, data_dir: Path | None) -> int:
    from starter.client import wait_for_result
    from starter.operate.actions import retry

    async def start_retry(connections: Connections) -> tuple[str, ProcessStatus | None]:
        run_id = await retry(connections.client, connections.database, process_id, reason=reason)
        if not wait:
            return run_id, None
        with suppress(PermanentError):
            await wait_for_result(connections.client.get_workflow_handle(process_id, run_id=run_id))
        return run_id, await get_status(connections, process_id)

    run_id, final = run_connected(data_dir, start_retry)
    if final is None:
        _print_action(process_id, run_id, "retry", f"{process_id} is running again", as_json=as_json)
        return 0
    print_status(final, as_json=as_json)
    return 0 if final.status == "completed" else FAILED


def _print_action(process_id: str, run_id: str, action: str, line: str, *, as_json: bool) -> None:
    data = {"transaction_id": process_id, "run_id": run_id, "action": action}
    print_result(data, line, as_json=as_json)
