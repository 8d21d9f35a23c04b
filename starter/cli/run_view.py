"""How `commerce runs show`, `retry` and `cancel` print a process."""

from commerce.messages.base import count_of
from commerce.messages.runs import ProcessStatus, Run
from starter.cli.shared import Connections, out, print_line, step_line

LABEL_WIDTH = 10  # characters


async def get_status(connections: Connections, process_id: str) -> ProcessStatus:
    """Return the status of a process. Raises ProcessNotFound, Unreachable."""
    from starter.operate import process_status

    return await process_status.get_status(connections.client, process_id, ui=connections.settings.temporal_ui_url)


def print_status(status: ProcessStatus, *, as_json: bool) -> None:
    """Print a process with its steps."""
    if as_json:
        out.print_json(status.model_dump_json())
        return
    facts = {
        status.transaction_id: status_and_state(status),
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


def status_and_state(run: Run) -> str:
    """Return Temporal's status and the process's own state, or one of them if they are the same word.

    A completed process that has undone its steps, or waits, is better described by its outcome.
    """
    if run.waiting_for:
        return f"{run.status}, waiting for {run.waiting_for}"
    state = run.state if run.state == run.status else run.outcome or run.state
    return ", ".join(dict.fromkeys(filter(None, (run.status, state))))
