"""`commerce runs retry` with filters instead of an id: many processes at once."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

import typer

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.runs import BulkRetry, Run
from starter.cli.shared import FAILED, Connections, err, out, print_error, print_line

if TYPE_CHECKING:
    from starter.operate.bulk_retry import Selection

MAX_SHOWN = 20  # processes, before the question whether to retry all of them
MORE = "; there are more: run the command again, or raise --limit"


async def retry_many(
    connections: Connections,
    selection: "Selection",
    *,
    reason: str,
    limit: int,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Find the processes, ask, retry them and print the result; return the exit code."""
    from starter.operate import bulk_retry

    if not dry_run and not yes and not sys.stdin.isatty():
        raise BadInput([FieldError(field="--yes", message="is required where nobody can be asked; or --dry-run")])
    client, database, _ = connections
    found = await bulk_retry.find(client, selection, limit)
    number = len(found.workflows)
    if not dry_run and number:
        if not yes:
            _print_selected(found, print_error)
            if not typer.confirm(f"Retry {_processes(number)}?", err=True):
                print_error("Nothing was retried")
                return FAILED
        with err.status("Retrying …") as status:
            found = await bulk_retry.retry_found(
                client,
                database,
                found,
                reason=reason,
                progress=lambda done: status.update(f"Retried {done:,} of {number:,}"),
            )
    if as_json:
        out.print_json(found.model_copy(update={"dry_run": dry_run}).model_dump_json())
    elif dry_run or not number:
        _print_selected(found, print_line)
    else:
        _print_result(found)
    return FAILED if found.refused else 0


def _print_selected(found: BulkRetry, write: Callable[[str], None]) -> None:
    for run in found.workflows[:MAX_SHOWN]:
        write(_line(run))
    if (hidden := len(found.workflows) - MAX_SHOWN) > 0:
        write(f"… and {hidden:,} more")
    write(f"{_processes(len(found.workflows))} selected{MORE if found.more else ''}")


def _print_result(found: BulkRetry) -> None:
    for refused in found.refused:
        print_error(refused.error)
    print_line(f"{_processes(len(found.retried))} running again{MORE if found.more else ''}")
    if found.refused:
        print_line(f"{_processes(len(found.refused))} not retried")


def _line(run: Run) -> str:
    return "  ".join(filter(None, (run.transaction_id, run.failure_type or run.status, run.failed_step)))


def _processes(number: int) -> str:
    return f"{number:,} process{'' if number == 1 else 'es'}"
