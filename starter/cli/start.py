"""The command `commerce start`, in a module of its own so that `--help` need not import what it needs."""

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from temporalio.client import Client, WorkflowFailureError, WorkflowHandle

from activities.boundary.failures import describe
from commerce.messages.base import Message
from starter import client
from starter.cli.follow import follow_steps, warn_while_stuck
from starter.cli.shared import FAILED, Connections, out, print_error, print_line, run_connected
from starter.connection.rpc import unreachable_if_refused
from starter.processes import PROCESS_TYPES

MAX_INPUT = 1 << 20  # characters
NAME_WIDTH = 20  # characters of a result's field names


def start(data_dir: Path | None, kind: str, json: str, *, follow: bool, wait: bool, as_json: bool) -> int:
    """Start a process, or join its open run, and return the exit code. `json` is its input; `-`: standard input."""
    if follow and not wait:
        raise typer.BadParameter("--follow waits for the end: omit --no-wait")
    return start_request(data_dir, kind, _parse(kind, json), follow=follow, wait=wait, as_json=as_json)


def start_request(
    data_dir: Path | None, kind: str, request: Message, *, follow: bool = False, wait: bool = True, as_json: bool
) -> int:
    """Start a process with this entry, or join its open run, and return the exit code."""

    async def start_and_wait(connections: Connections) -> int:
        await connections.database.ping()  # without the database, the process would only wait
        handle = await client.start(connections.client, kind, request)
        if as_json and not wait:
            out.print_json(data={"transaction_id": handle.id, "run_id": handle.first_execution_run_id})
        else:
            print_error(f"{handle.id} is running")
        return await _wait(connections.client, handle, follow=follow, as_json=as_json) if wait else 0

    return run_connected(data_dir, start_and_wait)


def _parse(kind: str, json: str) -> Message:
    if kind not in PROCESS_TYPES:
        raise typer.BadParameter(f"Unknown workflow: {kind}. One of: {', '.join(PROCESS_TYPES)}")
    return PROCESS_TYPES[kind].parse(sys.stdin.read(MAX_INPUT) if json == "-" else json)


async def _wait(temporal: Client, handle: WorkflowHandle[Any, Any], *, follow: bool, as_json: bool) -> int:
    """Wait for the result and print it; return the exit code. Raises Unreachable."""
    print_step: Callable[[str], None] = print_error if as_json else print_line
    warning = asyncio.create_task(warn_while_stuck(temporal, handle, print_error))
    try:
        if follow:
            await follow_steps(handle, print_step)
        with unreachable_if_refused(f"return the result of {handle.id}"):
            result = await handle.result()
    except WorkflowFailureError as failure:
        print_error(describe(failure))
        return FAILED
    except asyncio.CancelledError:
        print_error(f"Interrupted. {handle.id} continues; the same command joins it again")
        raise
    finally:
        warning.cancel()
    if as_json:
        out.print_json(data=result)
    else:
        for name, value in result.items():
            print_line(f"{name:>{NAME_WIDTH}}  {_as_text(value)}")
    return 0


def _as_text(value: Any) -> str:
    """Return a value of a result as text, a list with one line for each of its items."""
    match value:
        case None | []:
            return "–"
        case bool():
            return "yes" if value else "no"
        case list():
            return f"\n{'':{NAME_WIDTH}}  ".join(map(_as_text, value))
        case dict():
            return ", ".join(f"{name} {_as_text(item)}" for name, item in value.items())
    return str(value)
