"""The command line `commerce`; every error is one line, and the exit code tells what kind it was."""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, NoReturn

import click
import typer
from rich.console import Console
from rich.table import Table
from temporalio.client import WorkflowFailureError, WorkflowHandle

from commerce import imports
from commerce.database import Database
from commerce.errors import BadInput, CommerceError, DatabaseUnavailable
from commerce.imports.report import Progress
from commerce.settings import Settings, SettingsError, load_environment, load_settings
from starter.client import PROCESSES, Unreachable, connect, explain
from starter.client import start as start_process
from starter.process import end

FAILED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
SHOWN_BAD_ROWS = 20

app = typer.Typer(
    name="commerce",
    help="The back office of a shop as durable processes.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
import_app = typer.Typer(help="Take in what other systems export as CSV, plain or gzip.", no_args_is_help=True)
app.add_typer(import_app, name="import")
out, err = Console(highlight=False), Console(stderr=True, highlight=False)

DataDir = Annotated[
    Path | None, typer.Option(help="Folder of the embedded stack. Default: COMMERCE_DATA_DIR, else .commerce")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs")]
SkipBad = Annotated[bool, typer.Option(help="Take in the rest of a file with bad rows")]
Files = Annotated[list[Path], typer.Argument(help="One or more .csv or .csv.gz files")]


@app.command()
def up(
    data_dir: DataDir = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any")] = 9000,
    worker: Annotated[bool, typer.Option(help="Run the worker too")] = True,
) -> int:
    """Start everything embedded (PostgreSQL, Temporal, mail, carrier, worker, API) and stay up until Ctrl-C."""
    from starter.devstack.stack import Stack

    return _embedded(Stack(_folder(data_dir), port=port, worker=worker, echo=_say).run())


@app.command()
def demo(
    data_dir: DataDir = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the API; 0: any")] = 9000,
) -> int:
    """Start everything embedded, take in a sample shop and process its orders before your eyes."""
    from starter.demo import demo as run_demo

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
def migrate(data_dir: DataDir = None) -> None:
    """Bring the database's tables to the newest version."""
    _, settings = _load(data_dir)
    asyncio.run(_with_database(settings, Database.migrate))
    _say("The database is up to date")


@import_app.command("orders")
def import_orders(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Take in order exports; importing twice changes nothing."""
    _, settings = _load(data_dir)

    async def take_in(database: Database, progress: Progress) -> imports.ImportReport:
        return await imports.import_orders(
            database, files, skip_bad=skip_bad, currency=settings.currency, progress=progress
        )

    return _import(settings, take_in, "orders", skip_bad=skip_bad, as_json=as_json)


@import_app.command("inventory")
def import_inventory(files: Files, skip_bad: SkipBad = False, as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Take in inventory exports: products, variants, and what lies where."""
    _, settings = _load(data_dir)

    async def take_in(database: Database, progress: Progress) -> imports.ImportReport:
        return await imports.import_inventory(database, files, skip_bad=skip_bad, progress=progress)

    return _import(settings, take_in, "levels", skip_bad=skip_bad, as_json=as_json)


@app.command()
def start(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help=f"One of: {', '.join(PROCESSES)}")],
    text: Annotated[str, typer.Option("--input", help='The input as JSON, like \'{"order_id": "1001"}\'')] = "{}",
    follow: Annotated[bool, typer.Option(help="Show the steps as they happen")] = False,
    wait: Annotated[bool, typer.Option(help="Wait for the end and show the result")] = True,
    as_json: AsJson = False,
    data_dir: DataDir = None,
) -> int:
    """Start a process, or join the one that runs under the same id, and show how it ends."""
    if kind not in PROCESSES:
        raise click.UsageError(f"Unknown workflow: {kind}. One of: {', '.join(PROCESSES)}")
    request = PROCESSES[kind].read(text)
    environment, settings = _load(data_dir)

    async def run() -> int:
        await _with_database(settings, Database.ping)  # a start without it would only wait and fail
        handle = await start_process(await connect(environment), kind, request)
        return await _show(handle, follow=follow, wait=wait, as_json=as_json)

    return asyncio.run(run())


@app.command()
def audit(as_json: AsJson = False, data_dir: DataDir = None) -> int:
    """Check everything that must always hold: stock, fulfillments, accounts, the step ledger."""
    from starter.audit import audit as run_audit

    environment, settings = _load(data_dir)

    async def look(database: Database) -> list[Any]:
        return list(await run_audit(database, await connect(environment)))

    findings = asyncio.run(_with_database(settings, look))
    if as_json:
        out.print_json(data=[finding.model_dump(mode="json") for finding in findings])
    elif findings:
        table = Table("rule", "subject", "what is wrong")
        for finding in findings:
            table.add_row(finding.rule, finding.subject, finding.detail)
        out.print(table)
    else:
        out.print("The audit is clean: everything that must hold holds")
    return FAILED if findings else 0


def main() -> NoReturn:
    """Run the command line and end the process with its exit code."""
    end(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command; returns its exit code: 0 ok, 1 failed, 2 usage or settings, 3 unreachable, 130 interrupted."""
    try:
        code = app(arguments, prog_name="commerce", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _complain(error.format_message(), USAGE)
    except (SettingsError, BadInput) as error:
        return _complain(error, USAGE)
    except (Unreachable, DatabaseUnavailable) as error:
        return _complain(error, UNREACHABLE)
    except CommerceError as error:
        return _complain(error, FAILED)
    except (KeyboardInterrupt, click.Abort):
        return _complain("Interrupted", INTERRUPTED)


def _embedded(work: Coroutine[Any, Any, int]) -> int:
    from starter.devstack.folder import StackError

    try:
        return asyncio.run(work)
    except StackError as error:
        return _complain(error, error.code)


def _complain(problem: object, code: int) -> int:
    err.print(str(problem), markup=False, soft_wrap=True)
    return code


def _say(line: str) -> None:
    out.print(line, markup=False, soft_wrap=True)


def _folder(data_dir: Path | None) -> Path:
    return Path(load_environment(data_dir)["COMMERCE_DATA_DIR"])


def _load(data_dir: Path | None) -> tuple[dict[str, str], Settings]:
    environment = load_environment(data_dir)
    return environment, load_settings(environment)


def _become(module: str, data_dir: Path | None) -> NoReturn:
    """Replace this process by a module of its own, so that signals reach it."""
    os.environ["COMMERCE_DATA_DIR"] = str(_folder(data_dir))
    os.execv(sys.executable, [sys.executable, "-m", module])  # noqa: S606 - our own interpreter and module


async def _with_database(settings: Settings, use: Callable[[Database], Awaitable[Any]]) -> Any:
    database = Database(settings.database_url.get_secret_value())
    try:
        return await use(database)
    finally:
        await database.close()


def _import(
    settings: Settings,
    take_in: Callable[[Database, Progress], Awaitable[imports.ImportReport]],
    what: str,
    *,
    skip_bad: bool,
    as_json: bool,
) -> int:
    with err.status("Reading …") as status:
        report: imports.ImportReport = asyncio.run(
            _with_database(
                settings, lambda database: take_in(database, lambda rows: status.update(f"{rows:,} rows read"))
            )
        )
    if as_json:
        out.print_json(report.model_dump_json())
    else:
        _say(f"{report.read:,} rows read: {report.taken:,} {what} taken in, {report.unchanged:,} known already")
        for bad in report.bad[:SHOWN_BAD_ROWS]:
            _complain(f"{bad.file}:{bad.line}: {bad.reason}", FAILED)
    if not report.bad_count:
        return 0
    hint = "they were left out" if skip_bad else "nothing of their files was taken in (--skip-bad takes in the rest)"
    return _complain(f"{report.bad_count:,} bad rows: {hint}", 0 if skip_bad else FAILED)


async def _show(handle: WorkflowHandle[Any, Any], *, follow: bool, wait: bool, as_json: bool) -> int:
    from starter.following import follow as follow_run

    err.print(f"{handle.id} runs", markup=False)
    if not wait:
        out.print_json(json.dumps({"transaction_id": handle.id, "run_id": handle.first_execution_run_id}))
        return 0
    if follow:
        await follow_run(handle, _say)
    try:
        result = await handle.result()
    except WorkflowFailureError as failure:
        return _complain(explain(failure), FAILED)
    if as_json:
        out.print_json(data=result)
    else:
        for name, value in result.items():
            _say(f"{name:>20}  {value}")
    return 0
