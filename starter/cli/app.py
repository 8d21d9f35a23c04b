"""The command line `commerce`; every error is one line, and the exit code tells what kind it was."""

import asyncio
import logging
import os
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table

from commerce.errors import BadInput, CommerceError, DatabaseUnavailable, SettingsError, Unreachable
from commerce.settings import load_environment
from starter.cli.runs import runs_app
from starter.cli.schedules import schedules_app
from starter.cli.webhooks import webhooks_app
from starter.telemetry.exit import exit_process

if TYPE_CHECKING:
    from starter.cli.shop import Commands

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
HINT = (
    "Start it with `commerce up`, or say where it is: --data-dir for the folder of a running one, "
    "else COMMERCE_DATABASE_URL and TEMPORAL_ADDRESS."
)

app = typer.Typer(
    name="commerce",
    help="The back office of a shop as durable processes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_app = typer.Typer(help="Take in what other systems export as CSV, plain or gzip.", no_args_is_help=True)
app.add_typer(import_app, name="import")
app.add_typer(runs_app, name="runs")
app.add_typer(schedules_app, name="schedules")
app.add_typer(webhooks_app, name="webhooks")
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the embedded stack. Default: COMMERCE_DATA_DIR, else .commerce")
]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any, for every server")]
Input = Annotated[
    str, typer.Option("--input", help='The input as JSON, like \'{"order_id": "1001"}\'; -: from standard input')
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Take in the rest of a file with bad rows")]
Files = Annotated[list[Path], typer.Argument(help="One or more .csv or .csv.gz files")]


@app.command()
def up(
    data_dir: DataDir = None,
    port: Port = 9000,
    worker: Annotated[bool, typer.Option(help="Run the worker too")] = True,
    schedules: Annotated[bool, typer.Option(help="Let jobs run by the clock; without, they are created paused")] = True,
) -> int:
    """Start everything embedded (PostgreSQL, Temporal, mail, carrier, warehouse, worker, API) until Ctrl-C."""
    from starter.devstack.stack import Stack

    return _embedded(Stack(_folder(data_dir), port=port, worker=worker, schedules=schedules, echo=_say).run())


@app.command()
def demo(data_dir: DataDir = None, port: Port = 9000) -> int:
    """Start everything embedded, take in a sample shop and process its orders before your eyes."""
    from starter.demo.story import demo as run_demo

    return _embedded(run_demo(out, _folder(data_dir), port=port))


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Run the worker process until SIGTERM or Ctrl-C."""
    _become("worker", data_dir)


@app.command()
def api(data_dir: DataDir = None) -> None:
    """Run the HTTP API until SIGTERM or Ctrl-C."""
    _become("starter.api", data_dir)


@app.command()
def migrate(data_dir: DataDir = None) -> int:
    """Bring the database's tables to the newest version."""
    return _commands(data_dir).migrate()


@import_app.command("orders")
def import_orders(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Take in order exports; importing twice changes nothing."""
    return _commands(data_dir).import_orders(files, skip_bad=skip_bad, as_json=as_json)


@import_app.command("inventory")
def import_inventory(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Take in inventory exports: products, variants, and what lies where."""
    return _commands(data_dir).import_inventory(files, skip_bad=skip_bad, as_json=as_json)


@import_app.command("carts")
def import_carts(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Take in exports of abandoned checkouts; importing twice changes nothing."""
    return _commands(data_dir).import_carts(files, skip_bad=skip_bad, as_json=as_json)


@app.command()
def start(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="The kind of process, like order-processing")],
    text: Input = "{}",
    follow: Annotated[bool, typer.Option("--follow", help="Show the steps as they happen")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end and show the result")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Start a process, or join the one that runs under the same id, and show how it ends."""
    return _commands(data_dir).start(kind, text, follow=follow, wait=wait, as_json=as_json)


@app.command()
def audit(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Check everything that must always hold: stock, fulfillments, accounts, the step ledger."""
    return _commands(data_dir).audit(as_json=as_json)


@app.command(epilog="Like: commerce doctor; commerce doctor --json | jq '.[] | select(.code > 0)'")
def doctor(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Show on one screen what is wrong with this installation, and what mends it; nothing is changed.

    Ends with 0 if nothing is wrong (warnings may be), 2 if a setting is, else 3 if the database or Temporal cannot be
    reached, else 1.
    """
    from starter.doctor.command import doctor

    return doctor(out, load_environment(data_dir), as_json=as_json)


@app.command()
def contract(as_json: AsJson = False) -> None:
    """Tell what every kind of process takes and returns, and what events tell; with --json as JSON Schemas."""
    from starter.cli.contract import contract

    schemas = contract()
    if as_json:
        out.print_json(data=schemas)
        return
    processes, events = Table("process", "takes", "returns"), Table("event", "data")
    for kind, parts in schemas.items():
        fields = {part: ", ".join(schema.get("properties", {})) for part, schema in parts.items()}
        if "data" in fields:
            events.add_row(kind, fields["data"])
        else:
            processes.add_row(kind, fields["entry"], fields["result"])
    out.print(processes, events)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # Commands say themselves what went wrong; what libraries log beside it (a connection cut by Ctrl-C) is tracebacks.
    logging.getLogger().addHandler(logging.NullHandler())
    exit_process(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code: 0 ok, 1 failed, 2 usage or settings, 3 unreachable, 130 interrupted."""
    try:
        code = app(arguments, prog_name="commerce", standalone_mode=False)
    except typer.TyperException as error:
        return _complain(error.format_message(), USAGE)
    except (SettingsError, BadInput) as error:
        return _complain(error, USAGE)
    except (Unreachable, DatabaseUnavailable) as error:
        return _complain(f"{error} {HINT}", UNREACHABLE)
    except CommerceError as error:
        return _complain(error, FAILED)
    except OSError as error:  # nobody can be shown what was to be shown: a full disk, say
        return _complain(error, FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _complain("Interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def _commands(data_dir: Path | None) -> "Commands":
    from starter.cli.shop import Commands

    return Commands(data_dir, out, err)


def _embedded(work: Coroutine[Any, Any, int]) -> int:
    from starter.devstack.errors import StackError

    try:
        return asyncio.run(work)
    except StackError as error:
        return _complain(error, error.code)


def _become(module: str, data_dir: Path | None) -> NoReturn:
    """Replace this process by a module of its own, so that signals reach it."""
    os.environ["COMMERCE_DATA_DIR"] = str(_folder(data_dir))
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own interpreter and module


def _folder(data_dir: Path | None) -> Path:
    return Path(load_environment(data_dir)["COMMERCE_DATA_DIR"])


def _complain(problem: object, code: int) -> int:
    err.print(str(problem), markup=False, soft_wrap=True)
    return code


def _say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)
