"""`commerce runs retry` and `commerce runs cancel` with filters instead of an id: many processes at once."""

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar
from zoneinfo import ZoneInfo

import typer

from commerce.errors import BadInput
from commerce.messages.base import FieldError
from commerce.messages.runs import BulkCancel, BulkRetry, Run
from starter.cli.shared import FAILED, Connections, err, out, print_error, print_line, run_connected

if TYPE_CHECKING:
    from starter.operate import bulk_cancel, bulk_retry

MAX_SHOWN = 20  # processes, before the question whether to act on all of them
MORE = "; there are more: run the command again, or raise --limit"
Found = TypeVar("Found", BulkRetry, BulkCancel)


class Words(NamedTuple):
    """How the messages name an action: `Retry`, `Retrying`, `retried`, and what the processes are after it."""

    action: str
    doing: str
    done: str
    result: str


class Flags(NamedTuple):
    """The options of a command on many processes."""

    dry_run: bool
    yes: bool
    as_json: bool


RETRY = Words("Retry", "Retrying", "retried", "running again")
CANCEL = Words("Cancel", "Cancelling", "cancelled", "being cancelled")


def retry_many(
    select: Callable[[ZoneInfo], "bulk_retry.Selection"], limit: int, reason: str, flags: Flags, data_dir: Path | None
) -> int:
    """Retry the processes that `select` returns for the shop's time zone, at most `limit`; return the exit code."""

    async def find_and_retry(connections: Connections) -> int:
        from starter.operate import bulk_retry

        client, database, settings = connections
        return await _act_on_many(
            lambda: bulk_retry.find(client, select(settings.zone), limit),
            lambda found, progress: bulk_retry.retry_found(client, database, found, reason=reason, progress=progress),
            RETRY,
            flags,
        )

    return run_connected(data_dir, find_and_retry)


def cancel_many(
    select: Callable[[ZoneInfo], "bulk_cancel.Selection"], limit: int, reason: str, flags: Flags, data_dir: Path | None
) -> int:
    """Cancel the processes that `select` returns for the shop's time zone, at most `limit`; return the exit code."""

    async def find_and_cancel(connections: Connections) -> int:
        from starter.operate import bulk_cancel

        client, database, settings = connections
        return await _act_on_many(
            lambda: bulk_cancel.find(client, select(settings.zone), limit),
            lambda found, progress: bulk_cancel.cancel_found(client, database, found, reason=reason, progress=progress),
            CANCEL,
            flags,
        )

    return run_connected(data_dir, find_and_cancel)


async def _act_on_many(
    find: Callable[[], Awaitable[Found]],
    act: Callable[[Found, Callable[[int], None]], Awaitable[Found]],
    words: Words,
    flags: Flags,
) -> int:
    """Find the processes, ask, act on them and print the result; return the exit code.

    `act` gets what was found, and a function to call with the number of processes that are done.
    """
    if not flags.dry_run and not flags.yes and not sys.stdin.isatty():
        raise BadInput([FieldError(field="--yes", message="is required where nobody can be asked; or --dry-run")])
    found = await find()
    number = len(found.workflows)
    if not flags.dry_run and number:
        if not flags.yes:
            _print_selected(found, print_error)
            if not typer.confirm(f"{words.action} {_processes(number)}?", err=True):
                print_error(f"Nothing was {words.done}")
                return FAILED
        with err.status(f"{words.doing} …") as status:
            found = await act(found, lambda done: status.update(f"{words.done.capitalize()} {done:,} of {number:,}"))
    if flags.as_json:
        out.print_json(found.model_copy(update={"dry_run": flags.dry_run}).model_dump_json())
    elif flags.dry_run or not number:
        _print_selected(found, print_line)
    else:
        _print_result(found, words)
    return FAILED if found.refused else 0


def _print_selected(found: Found, write: Callable[[str], None]) -> None:
    for run in found.workflows[:MAX_SHOWN]:
        write(_line(run))
    if (hidden := len(found.workflows) - MAX_SHOWN) > 0:
        write(f"… and {hidden:,} more")
    write(f"{_processes(len(found.workflows))} selected{MORE if found.more else ''}")


def _print_result(found: Found, words: Words) -> None:
    for refused in found.refused:
        print_error(refused.error)
    done = len(found.workflows) - len(found.refused)
    print_line(f"{_processes(done)} {words.result}{MORE if found.more else ''}")
    if found.refused:
        print_line(f"{_processes(len(found.refused))} not {words.done}")


def _line(run: Run) -> str:
    return "  ".join(filter(None, (run.transaction_id, run.failure_type or run.status, run.failed_step)))


def _processes(number: int) -> str:
    return f"{number:,} process{'' if number == 1 else 'es'}"
